// The alt text of a caption: how sure the model is, what somebody makes of the text, and copying it.

import { part, percent } from "./page.js";

let modelText = ""; // what the field was filled with
let edited = () => {}; // is told of what somebody makes of it

/** How sure a model is, as people say it. */
export function sureness({ confidence }) {
  if (confidence === null) return "";
  const words = confidence >= 0.8 ? "very likely right" : confidence >= 0.5 ? "probably right" : confidence >= 0.2 ? "unsure" : "probably wrong";
  // Rounded down, lest 49.7 % look like the 50 % that are needed to be probable.
  return `${percent(Math.floor(100 * confidence + 1e-9) / 100)}, ${words}`;
}

/**
 * Shows an alt text.
 *
 * @param {{text: string, confidence: number?, flagged: boolean}} alt
 * @param {string} [text] what somebody made of it earlier.
 * @param {(text: string?) => void} [changed] is called with each edit; with undefined when it is the model's text again.
 */
export function showAlt(alt, text, changed) {
  modelText = alt.text;
  edited = changed ?? (() => {});
  part("alt").value = text ?? alt.text;
  mark();
  part("alt-flag").hidden = !alt.flagged;
  const sure = sureness(alt);
  part("alt-sure").textContent = sure
    ? `Chance that a person would accept this caption: ${sure}.`
    : "How likely this caption is to be right is not known: the model has not been calibrated.";
  part("copied").textContent = "";
}

/** Connects the field and its buttons. */
export function prepareAlt() {
  part("alt").addEventListener("input", change);
  part("alt-restore").addEventListener("click", () => {
    part("alt").value = modelText;
    change();
    part("alt").focus(); // the button has gone
  });
  part("copy").addEventListener("click", async () => {
    const done = await copy(part("alt"));
    part("copied").textContent = "";
    // Emptied first, so that a second copy is announced, too.
    setTimeout(() => {
      part("copied").textContent = done ? "Copied." : "The browser refused to copy. The text is selected: press Ctrl+C.";
    });
  });
}

function change() {
  mark();
  const { value } = part("alt");
  edited(value === modelText ? undefined : value);
}

function mark() {
  part("alt-edited").hidden = part("alt").value === modelText;
}

async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    // Refused, or not offered: pages over plain HTTP from another machine have no clipboard.
    field.select();
    return document.execCommand("copy");
  }
}
