// Helpers for the document that every module of the page uses.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export const percent = (fraction) => `${Math.round(fraction * 100)} %`;

/** Announces a text to screen readers only. */
export function announce(text) {
  byId("status").textContent = text;
}

/** A message as a sentence: capitalised, with a full stop. */
export function asSentence(text) {
  const trimmed = text.trim();
  return trimmed && trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}

/** Shows an error message, with a button if there is something to retry; without a text hides it. */
export function showProblem(text = "", retry = null) {
  const button = byId("retry");
  byId("problem").hidden = !text;
  byId("problem-text").textContent = text;
  button.hidden = !retry;
  button.onclick = retry && (() => { showProblem(); retry(); });
}

/** Sets the language of an element's text, a code such as "de"; an undetermined one ("und") has an empty attribute. Returns the element. */
export function setLanguage(node, language) {
  node.lang = language === "und" ? "" : language;
  return node;
}
