// The alt text of a caption: its confidence, editing and copying.

import { byId, percent } from "./dom.js";

let modelText = ""; // as the model wrote it
let onEdit = () => {};

/** A confidence as a percentage and in words; empty where it is not known. */
export function confidenceText({ confidence }) {
  if (confidence === null) return "";
  const words = confidence >= 0.8 ? "very likely right" : confidence >= 0.5 ? "probably right" : confidence >= 0.2 ? "unsure" : "probably wrong";
  // Rounded down, so that 49.7 % does not read as the 50 % of the next class.
  return `${percent(Math.floor(100 * confidence + 1e-9) / 100)}, ${words}`;
}

/**
 * Shows an alt text.
 *
 * @param {{text: string, confidence: number?, flagged: boolean}} alt
 * @param {string} [text] the edited text, if it was edited before.
 * @param {(text: string?) => void} [changed] is called with every edit; with undefined when the model's text is restored.
 */
export function showAlt(alt, text, changed) {
  modelText = alt.text;
  onEdit = changed ?? (() => {});
  byId("alt").value = text ?? alt.text;
  showEdited();
  byId("alt-flag").hidden = !alt.flagged;
  const confidence = confidenceText(alt);
  byId("alt-confidence").textContent = confidence
    ? `Chance that a person would accept this caption: ${confidence}.`
    : "The confidence of this caption is not known: the model has not been calibrated.";
  byId("copied").textContent = "";
}

/** Connects the field and its buttons. */
export function prepareAlt() {
  byId("alt").addEventListener("input", change);
  byId("alt-restore").addEventListener("click", () => {
    byId("alt").value = modelText;
    change();
    byId("alt").focus(); // the button is hidden now
  });
  byId("copy").addEventListener("click", async () => {
    const copied = await copy(byId("alt"));
    byId("copied").textContent = "";
    // Cleared first, so that a second copy is announced as well.
    setTimeout(() => {
      byId("copied").textContent = copied ? "Copied." : "The browser refused to copy. The text is selected: press Ctrl+C.";
    });
  });
}

function change() {
  showEdited();
  const { value } = byId("alt");
  onEdit(value === modelText ? undefined : value);
}

function showEdited() {
  byId("alt-edited").hidden = byId("alt").value === modelText;
}

async function copy(field) {
  try {
    await navigator.clipboard.writeText(field.value);
    return true;
  } catch {
    // Refused or not available: pages over plain HTTP from another machine have no clipboard.
    field.select();
    return document.execCommand("copy");
  }
}
