// One photo: the image, its sentence, the other captions and the alt text.

import { prepareAlt, showAlt } from "./alt_text.js";
import { captionOf } from "./ask.js";
import { editRow } from "./batch_rows.js";
import { announce, element, part, tell } from "./page.js";
import { clear, show, unpin } from "./sentence.js";
import { chosen } from "./settings.js";

const SLOW = 600; // milliseconds without an answer, after which the page says that it waits

let shown = null; // the file
let asking = new AbortController();
let address = "";
let chosenText = ""; // the caption that is shown, of several
let row = null; // the row of the table that the photo belongs to, whose alt text is edited along

/** Connects what does not depend on a photo. */
export function prepare() {
  prepareAlt();
  part("most").addEventListener("change", () => shown && ask(true));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && unpin());
  part("photo").addEventListener("error", () => {
    part("photo").hidden = part("map").hidden = true;
    part("photo-name").textContent += " (this browser cannot display files of this type)";
  });
}

/** Captions a photo and shows it meanwhile. */
export function caption(file, name) {
  shown = file;
  row = null;
  const answered = ask();
  display(file, name);
  return answered;
}

/** Captions the photo that is shown once more, after a change of the settings. */
export function recaption() {
  return shown && !part("one").hidden ? ask() : null;
}

/** Shows the photo of a row of the table, whose answer is known. */
export function reveal(chosenRow) {
  asking.abort();
  row = chosenRow;
  shown = row.file;
  tell();
  display(row.file, row.name);
  answered(row.answer);
}

/** Forgets the photo. */
export function hide() {
  asking.abort();
  shown = row = null;
  part("one").hidden = true;
  part("working").hidden = true;
  tell();
}

async function ask(onlyAlt = false) {
  asking.abort();
  const mine = (asking = new AbortController());
  const settings = chosen();
  tell();
  if (!onlyAlt) {
    clear();
    part("said").hidden = true;
  }
  const say = (text) => {
    part("working").textContent = text;
    part("working").hidden = false;
    announce(text);
  };
  const ready = settings.fresh ? "Waiting for the server. The first caption with a different model or strategy takes a few seconds …" : "Waiting for the server …";
  const timer = setTimeout(say, SLOW, ready);
  try {
    const answer = await captionOf(shown, settings, mine.signal, (why) => say(`${why.message} Waiting …`));
    if (mine.signal.aborted) return;
    const same = onlyAlt && [answer, ...answer.alternatives].find((one) => one.caption === chosenText);
    if (same) alt(same);
    else answered(answer); // a strategy that draws at random says something else each time
  } catch (error) {
    if (mine.signal.aborted) return;
    tell(error.message, error.passing && (() => ask(onlyAlt)));
  } finally {
    clearTimeout(timer);
    if (asking === mine) part("working").hidden = true;
  }
}

function answered(answer) {
  const all = [answer, ...answer.alternatives];
  const best = (one, atOnce) => {
    chosenText = one.caption;
    show(one, atOnce);
    alt(one);
    part("photo").alt = one.caption || "The photo you chose";
  };
  part("said").hidden = false;
  best(answer, false);
  announce(answer.caption ? `Caption: ${answer.caption}` : "The model has nothing to say about this photo.");
  part("others").hidden = all.length === 1;
  part("other-list").replaceChildren(...all.map((one, i) => {
    const button = element("button", { type: "button" }, element("span", { textContent: one.caption || "(empty)" }),
      element("span", { className: "note", textContent: `score ${one.score.toFixed(2)}` }));
    button.setAttribute("aria-pressed", String(i === 0));
    button.addEventListener("click", () => {
      for (const each of part("other-list").querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
      best(one, true);
    });
    return element("li", {}, button);
  }));
}

/** Shows the alt text of a caption; what somebody makes of it goes into the row of the table, too. */
function alt(one) {
  const of = row;
  showAlt(one.alt_text, one === of?.answer ? of.alt : undefined, of && ((text) => editRow(of, text)));
}

function display(file, name) {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  part("photo").hidden = part("map").hidden = false;
  part("photo").alt = "The photo you chose";
  part("photo").src = address;
  part("photo-name").textContent = name;
  part("one").hidden = false;
  // On a phone the photo is below all else.
  if (part("one").getBoundingClientRect().top > innerHeight / 2) part("one").scrollIntoView();
}
