// The rows of the table of many photos: their thumbnails, their captions, and alt texts that can be edited.

import { sureness } from "./alt_text.js";
import { element, part } from "./page.js";

const WIDE = 192; // pixels of a thumbnail, twice what is shown, for fine screens
const AT_ONCE = 100;

let drawing = Promise.resolve(); // one photo is decoded at a time: a large one takes 200 MB
let watcher = null;

const collator = new Intl.Collator(undefined, { numeric: true });
const byAdded = (one, other) => one.added - other.added;
const ORDERS = {
  added: byAdded,
  name: (one, other) => collator.compare(one.name, other.name) || byAdded(one, other),
  doubt: (one, other) => certainty(one) - certainty(other) || ORDERS.name(one, other),
};

/** Sorts rows {name, added, answer, error} in place: by "name" (2 before 10), "doubt" or "added". */
export function sort(rows, by) {
  rows.sort(ORDERS[by]);
}

/** Failed rows first, and last those of which nothing is known (yet). */
function certainty({ answer, error }) {
  return error ? -1 : answer?.alt_text.confidence ?? 2;
}

/** Makes the rows, some at a time so that the page stays quick; `open(row)` is called when one is clicked. */
export async function makeRows(rows, open) {
  watcher?.disconnect();
  const rowOf = new Map();
  watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      const row = rowOf.get(target);
      drawing = drawing.then(() => row.photo.isConnected && thumbnail(row)).catch(() => {});
    }
  }, { rootMargin: "200px" });
  part("rows").replaceChildren();
  const [all, lines] = [[...rows], []]; // somebody may sort `rows` meanwhile
  for (let from = 0; from < all.length; from += AT_ONCE) {
    for (const row of all.slice(from, from + AT_ONCE)) {
      row.photo = element("button", { type: "button", disabled: true });
      row.photo.setAttribute("aria-label", `Look closer at ${row.name}`);
      row.photo.addEventListener("click", () => open(row));
      row.cells = ["file", "caption", "sure", "alt"].map((name) => cell(name));
      // Isolated, so that a name written from right to left turns nothing else around.
      row.cells[0].append(element("bdi", { textContent: row.name }));
      row.line = element("tr", {}, cell("photo", row.photo), ...row.cells);
      row.line.setAttribute("role", "row");
      rowOf.set(row.photo, row);
      watcher.observe(row.photo);
      lines.push(row.line);
    }
    part("rows").append(...lines.splice(0));
    await new Promise(requestAnimationFrame);
  }
}

/** Puts the rows of the table in the order of `rows`. */
export function orderRows(rows) {
  part("rows").append(...rows.map(({ line }) => line).filter(Boolean));
}

/** Writes what became of a row. */
export function fillRow(row) {
  const { line, photo, cells: [, caption, sure, alt], answer, error } = row;
  line.classList.toggle("failed", Boolean(error));
  photo.disabled = !answer;
  if (error) {
    caption.textContent = `No caption. ${error}`;
    return;
  }
  caption.textContent = answer.caption;
  const words = sureness(answer.alt_text);
  if (answer.alt_text.flagged) sure.replaceChildren(element("span", { className: "sure flagged", textContent: `⚠ ${words}` }));
  else sure.textContent = words || "not known";
  alt.replaceChildren(...altField(row));
  editRow(row, row.alt);
}

/** Takes what somebody made of a row's alt text; undefined for the model's own again. */
export function editRow(row, text) {
  row.alt = text;
  const shown = text ?? row.answer.alt_text.text;
  if (row.field.value !== shown) row.field.value = shown;
  row.edited.hidden = text === undefined;
}

/** The field of a row's alt text, and below it the way back once it is edited. */
function altField(row) {
  const modelText = row.answer.alt_text.text;
  row.field = element("textarea", { rows: 2 });
  row.field.setAttribute("aria-label", `Alt text of ${row.name}`);
  row.field.addEventListener("input", () => editRow(row, row.field.value === modelText ? undefined : row.field.value));
  const restore = element("button", { type: "button", className: "small", textContent: "Restore the model’s text" });
  restore.setAttribute("aria-label", `Restore the model’s text of ${row.name}`);
  restore.addEventListener("click", () => {
    editRow(row, undefined);
    row.field.focus(); // the button has gone
  });
  row.edited = element("p", { className: "note", hidden: true }, "Edited. ", restore);
  return [row.field, row.edited];
}

function cell(name, ...children) {
  const made = element("td", { className: name }, ...children);
  // Said outright, because on narrow screens the style makes cards of rows.
  made.setAttribute("role", "cell");
  return made;
}

async function thumbnail({ photo, file }) {
  const image = await createImageBitmap(file, { resizeWidth: WIDE, resizeQuality: "medium" });
  const canvas = element("canvas", { width: image.width, height: image.height });
  canvas.getContext("2d").drawImage(image, 0, 0);
  image.close();
  photo.replaceChildren(canvas);
}
