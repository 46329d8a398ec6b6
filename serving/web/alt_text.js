// The alt text of a caption: how sure it is, and copying it.

import { part, percent } from "./page.js";

/** How sure a model is, as people say it. */
export function sureness({ confidence }) {
  if (confidence === null) return "";
  const words = confidence >= 0.8 ? "very likely right" : confidence >= 0.5 ? "probably right" : confidence >= 0.2 ? "doubtful" : "probably wrong";
  return `${percent(confidence)}, ${words}`;
}

/** Shows an alt text. */
export function showAlt(alt) {
  part("alt").value = alt.text;
  part("alt-flag").hidden = !alt.flagged;
  const sure = sureness(alt);
  part("alt-sure").textContent = sure
    ? `Chance that a person would accept this caption: ${sure}.`
    : "How likely it is right is not known: this model was never calibrated.";
  part("copied").textContent = "";
}

/** Makes the button copy what stands in the field. */
export function prepareCopy() {
  part("copy").addEventListener("click", async () => {
    const done = await copy(part("alt"));
    part("copied").textContent = "";
    // Emptied first, so that a second copy is announced, too.
    setTimeout(() => {
      part("copied").textContent = done ? "Copied." : "The browser refused to copy: the text is marked, press Ctrl+C.";
    });
  });
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
