// The rows of the table of a batch: thumbnails, captions, and alt texts that can be edited.

import { confidenceText } from "./alt_text.js";
import { byId, element, setLanguage } from "./dom.js";

const THUMBNAIL = 192; // pixels, twice what is shown, for high-resolution screens
const ROWS_PER_FRAME = 100;

let decoding = Promise.resolve(); // one photo at a time: a large one takes 200 MB
let observer = null;

const collator = new Intl.Collator(undefined, { numeric: true });
const byAdded = (a, b) => a.added - b.added;
const ORDERS = {
  added: byAdded,
  name: (a, b) => collator.compare(a.name, b.name) || byAdded(a, b),
  confidence: (a, b) => confidence(a) - confidence(b) || ORDERS.name(a, b),
};

/** Sorts rows {name, added, answer, error} in place: by "name" (2 before 10), "confidence" or "added". */
export function sort(rows, by) {
  rows.sort(ORDERS[by]);
}

/** For sorting: failed rows first, rows without a known confidence last. */
function confidence({ answer, error }) {
  return error ? -1 : answer?.alt_text.confidence ?? 2;
}

/** Creates the rows, some per frame so that the page stays responsive; `open(row)` is called on a click. */
export async function makeRows(rows, open) {
  observer?.disconnect();
  const rowOf = new Map();
  observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      const row = rowOf.get(target);
      decoding = decoding.then(() => row.photo.isConnected && thumbnail(row)).catch(() => {});
    }
  }, { rootMargin: "200px" });
  byId("rows").replaceChildren();
  const [all, lines] = [[...rows], []]; // `rows` may be sorted meanwhile
  for (let start = 0; start < all.length; start += ROWS_PER_FRAME) {
    for (const row of all.slice(start, start + ROWS_PER_FRAME)) {
      row.photo = element("button", { type: "button", disabled: true });
      row.photo.setAttribute("aria-label", `Look closer at ${row.name}`);
      row.photo.addEventListener("click", () => open(row));
      row.cells = ["file", "caption", "confidence", "alt"].map((name) => cell(name));
      // Isolated, so that a right-to-left name does not reorder the text around it.
      row.cells[0].append(element("bdi", { textContent: row.name }));
      row.line = element("tr", {}, cell("photo", row.photo), ...row.cells);
      row.line.setAttribute("role", "row");
      rowOf.set(row.photo, row);
      observer.observe(row.photo);
      lines.push(row.line);
    }
    byId("rows").append(...lines.splice(0));
    await new Promise(requestAnimationFrame);
  }
}

/** Puts the rows of the table in the order of `rows`. */
export function orderRows(rows) {
  byId("rows").append(...rows.map(({ line }) => line).filter(Boolean));
}

/** Fills a row with its answer or error. */
export function fillRow(row) {
  const { line, photo, cells: [, caption, confidence, alt], answer, error } = row;
  line.classList.toggle("failed", Boolean(error));
  photo.disabled = !answer;
  if (error) {
    caption.textContent = `No caption. ${error}`;
    return;
  }
  caption.replaceChildren(setLanguage(element("div", { textContent: answer.text ?? answer.caption, dir: "auto" }), answer.language));
  const text = confidenceText(answer.alt_text);
  if (answer.alt_text.flagged) confidence.replaceChildren(element("span", { className: "confidence flagged", textContent: `⚠ ${text || answer.outcome}` }));
  else confidence.textContent = text || "not known";
  alt.replaceChildren(...altField(row));
  editRow(row, row.alt);
}

/** Sets the edited alt text of a row; undefined restores the model's text. */
export function editRow(row, text) {
  row.alt = text;
  const value = text ?? row.answer.alt_text.text;
  if (row.field.value !== value) row.field.value = value;
  row.edited.hidden = text === undefined;
}

/** The field of a row's alt text, and below it the button that restores an edited text. */
function altField(row) {
  const modelText = row.answer.alt_text.text;
  row.field = setLanguage(element("textarea", { rows: 2, dir: "auto" }), row.answer.language);
  row.field.setAttribute("aria-label", `Alt text of ${row.name}`);
  row.field.addEventListener("input", () => editRow(row, row.field.value === modelText ? undefined : row.field.value));
  const restore = element("button", { type: "button", className: "small", textContent: "Restore the model’s text" });
  restore.setAttribute("aria-label", `Restore the model’s text of ${row.name}`);
  restore.addEventListener("click", () => {
    editRow(row, undefined);
    row.field.focus(); // the button is hidden now
  });
  row.edited = element("p", { className: "note", hidden: true }, "Edited. ", restore);
  return [row.field, row.edited];
}

function cell(name, ...children) {
  const node = element("td", { className: name }, ...children);
  // Explicit, because on narrow screens the style sheet makes cards of rows.
  node.setAttribute("role", "cell");
  return node;
}

async function thumbnail({ photo, file }) {
  const image = await createImageBitmap(file, { resizeWidth: THUMBNAIL, resizeQuality: "medium" });
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  image.close();
  photo.replaceChildren(canvas);
}
