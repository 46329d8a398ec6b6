// The table as files that spreadsheets, and `captioner evaluate`, read.

import { element } from "./page.js";

const COLUMNS = ["image", "caption", "alt_text", "confidence", "flagged", "edited", "score", "error"];

/** Rows {name, answer, alt, error} as CSV; `alt` is what somebody made of the alt text. */
export function csv(rows) {
  const lines = rows.map(({ name, answer, alt, error }) => {
    const { text, confidence, flagged } = answer?.alt_text ?? {};
    const edited = answer && alt !== undefined;
    return [name, answer?.caption, alt ?? text, confidence, flagged, edited, answer?.score, error].map(cell).join(",");
  });
  // The mark in front tells spreadsheets that this is UTF-8.
  return "\ufeff" + [COLUMNS.join(","), ...lines, ""].join("\r\n");
}

/** Rows as JSON lines, as `captioner caption --json --alt-text` prints them, and whether an alt text was edited. */
export function jsonLines(rows) {
  return rows.map(({ name, answer, alt, error }) => JSON.stringify({
    image: name,
    caption: answer?.caption ?? "",
    score: answer?.score ?? 0,
    logp: answer?.logp ?? 0,
    words: answer?.words ?? [],
    word_logp: answer?.word_logp ?? [],
    alternatives: (answer?.alternatives ?? []).map(({ caption, score, logp }) => ({ caption, score, logp })),
    error: error ?? null,
    alt_text: alt ?? answer?.alt_text.text ?? "",
    confidence: answer?.alt_text.confidence ?? null,
    flagged: answer?.alt_text.flagged ?? false,
    edited: alt !== undefined,
  }) + "\n").join("");
}

/** Has the browser keep a text as a file. */
export function download(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  // Spreadsheets take what begins like this for a formula, and would run it.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}
