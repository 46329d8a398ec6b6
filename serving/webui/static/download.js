// The table as files for spreadsheets and `captioner evaluate`.

import { element } from "./dom.js";

const COLUMNS = ["image", "caption", "alt_text", "confidence", "flagged", "edited", "score", "error"];
const OUTCOME = ["text", "outcome", "ood_score"]; // of models that know which photos are unlike those they were trained on

/** Rows {name, answer, alt, error} as CSV; `alt` is the edited alt text, if any. */
export function csv(rows) {
  const extra = rows.some(({ answer }) => answer?.outcome) ? OUTCOME : [];
  const lines = rows.map(({ name, answer, alt, error }) => {
    const { text, confidence, flagged } = answer?.alt_text ?? {};
    const edited = answer && alt !== undefined;
    return [name, answer?.caption, alt ?? text, confidence, flagged, edited, answer?.score, error, ...extra.map((column) => answer?.[column])].map(cell).join(",");
  });
  // The byte order mark tells spreadsheets that this is UTF-8.
  return "\ufeff" + [[...COLUMNS, ...extra].join(","), ...lines, ""].join("\r\n");
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
    ...(answer?.outcome ? Object.fromEntries(OUTCOME.map((column) => [column, answer[column]])) : {}),
    alt_text: alt ?? answer?.alt_text.text ?? "",
    confidence: answer?.alt_text.confidence ?? null,
    flagged: answer?.alt_text.flagged ?? false,
    edited: alt !== undefined,
  }) + "\n").join("");
}

/** Downloads a text as a file. */
export function download(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  // Spreadsheets would evaluate what begins like this as a formula.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}
