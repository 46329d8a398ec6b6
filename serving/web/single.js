// One photo: the picture, its sentence, the other captions and the alt text.

import { prepareCopy, showAlt } from "./alt_text.js";
import { captionOf } from "./ask.js";
import { announce, element, part, tell } from "./page.js";
import { clear, show, unpin } from "./sentence.js";
import { chosen } from "./settings.js";

const SLOW = 600; // milliseconds without an answer, after which the page says that it waits

let shown = null; // the file
let asking = new AbortController();
let address = "";
let chosenText = ""; // the caption that is shown, of several

/** Connects what does not depend on a photo. */
export function prepare() {
  prepareCopy();
  part("most").addEventListener("change", () => shown && ask(true));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && unpin());
  part("photo").addEventListener("error", () => {
    part("photo").hidden = part("map").hidden = true;
    part("photo-name").textContent += " (a kind of file that this browser cannot show)";
  });
}

/** Captions a photo and shows it meanwhile. */
export function caption(file, name) {
  shown = file;
  const answered = ask();
  picture(file, name);
  return answered;
}

/** Captions the photo that is shown once more, after a change of the settings. */
export function recaption() {
  return shown && !part("one").hidden ? ask() : null;
}

/** Shows a photo whose answer is known. */
export function reveal(file, name, answer) {
  asking.abort();
  shown = file;
  tell();
  picture(file, name);
  answered(answer);
}

/** Forgets the photo. */
export function hide() {
  asking.abort();
  shown = null;
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
  const ready = settings.fresh ? "Waiting for the server: the first caption with another model or strategy takes some seconds …" : "Waiting for the server …";
  const timer = setTimeout(say, SLOW, ready);
  try {
    const answer = await captionOf(shown, settings, mine.signal, (why) => say(`${why.message} Waiting …`));
    if (mine.signal.aborted) return;
    const same = onlyAlt && [answer, ...answer.alternatives].find((one) => one.caption === chosenText);
    if (same) showAlt(same.alt_text);
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
    showAlt(one.alt_text);
    part("photo").alt = one.caption || "The photo that you chose";
  };
  part("said").hidden = false;
  best(answer, false);
  announce(answer.caption ? `Caption: ${answer.caption}` : "The model says nothing of this photo.");
  part("others").hidden = all.length === 1;
  part("other-list").replaceChildren(...all.map((one, i) => {
    const button = element("button", { type: "button" }, element("span", { textContent: one.caption || "(nothing)" }),
      element("span", { className: "note", textContent: `score ${one.score.toFixed(2)}` }));
    button.setAttribute("aria-pressed", String(i === 0));
    button.addEventListener("click", () => {
      for (const each of part("other-list").querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === button));
      best(one, true);
    });
    return element("li", {}, button);
  }));
}

function picture(file, name) {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  part("photo").hidden = part("map").hidden = false;
  part("photo").alt = "The photo that you chose";
  part("photo").src = address;
  part("photo-name").textContent = name;
  part("one").hidden = false;
  // On a phone the photo is below all else.
  if (part("one").getBoundingClientRect().top > innerHeight / 2) part("one").scrollIntoView();
}
