// The rows of the table of many photos, and their small pictures.

import { sureness } from "./alt_text.js";
import { element, part } from "./page.js";

const WIDE = 192; // pixels of a small picture, twice what is shown, for fine screens
const AT_ONCE = 100;

let drawing = Promise.resolve(); // one picture is decoded at a time: a large one takes 200 MB
let watcher = null;

/** Makes the rows, some at a time so that the page stays quick; `open(row)` is called when one is clicked. */
export async function makeRows(rows, open) {
  watcher?.disconnect();
  const seen = new Map();
  watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      const row = seen.get(target);
      drawing = drawing.then(() => row.photo.isConnected && small(row)).catch(() => {});
    }
  }, { rootMargin: "200px" });
  part("rows").replaceChildren();
  for (let from = 0; from < rows.length; from += AT_ONCE) {
    const some = rows.slice(from, from + AT_ONCE);
    for (const row of some) {
      row.photo = element("button", { type: "button", disabled: true });
      row.photo.setAttribute("aria-label", `Look closer at ${row.name}`);
      row.photo.addEventListener("click", () => open(row));
      row.cells = ["file", "caption", "sure", "alt"].map((name) => cell(name));
      row.cells[0].textContent = row.name;
      row.line = element("tr", {}, cell("photo", row.photo), ...row.cells);
      row.line.setAttribute("role", "row");
      seen.set(row.photo, row);
      watcher.observe(row.photo);
    }
    part("rows").append(...some.map(({ line }) => line));
    await new Promise(requestAnimationFrame);
  }
}

/** Writes what became of a row. */
export function fillRow({ line, photo, cells, answer, error }) {
  const [, caption, sure, alt] = cells;
  line.classList.toggle("failed", Boolean(error));
  photo.disabled = !answer;
  if (error) {
    caption.textContent = `No caption. ${error}`;
    return;
  }
  caption.textContent = answer.caption;
  alt.textContent = answer.alt_text.text;
  const said = sureness(answer.alt_text);
  sure.replaceChildren();
  if (answer.alt_text.flagged) sure.append(element("span", { className: "sure flagged", textContent: `⚠ ${said}` }));
  else sure.textContent = said;
}

function cell(name, ...children) {
  const made = element("td", { className: name }, ...children);
  // Said outright, because on narrow screens the style makes cards of rows.
  made.setAttribute("role", "cell");
  return made;
}

async function small({ photo, file }) {
  const picture = await createImageBitmap(file, { resizeWidth: WIDE, resizeQuality: "medium" });
  const canvas = element("canvas", { width: picture.width, height: picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  photo.replaceChildren(canvas);
}
