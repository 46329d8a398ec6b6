// A single photo: the image, its caption, the alternatives and the alt text.

import { prepareAlt, showAlt } from "./alt_text.js";
import { fetchCaption } from "./api.js";
import { editRow } from "./batch_rows.js";
import { announce, byId, element, setLanguage, showProblem } from "./dom.js";
import { clear, show, unpin } from "./caption.js";
import { selected } from "./settings.js";

const SLOW = 600; // milliseconds without an answer, after which the page shows that it waits

let current = null; // the file that is shown
let request = new AbortController();
let objectUrl = "";
let shownCaption = ""; // of several alternatives
let row = null; // the row of the table that the photo belongs to, whose alt text is edited along

/** Connects the controls. */
export function prepare() {
  prepareAlt();
  byId("outcome-show").addEventListener("click", () => {
    byId("sentences").hidden = false;
    byId("outcome-show").hidden = true;
  });
  byId("max-length").addEventListener("change", () => current && ask(true));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && unpin());
  byId("photo").addEventListener("error", () => {
    byId("photo").hidden = byId("heatmap").hidden = true;
    byId("photo-name").textContent += " (this browser cannot display files of this type)";
  });
}

/** Shows a photo and captions it. */
export function caption(file, name) {
  current = file;
  row = null;
  const finished = ask();
  display(file, name);
  return finished;
}

/** Captions the photo again, after a change of the settings. */
export function recaption() {
  return current && !byId("single").hidden ? ask() : null;
}

/** Shows the photo of a row of the table, with its answer. */
export function showRow(tableRow) {
  request.abort();
  row = tableRow;
  current = row.file;
  showProblem();
  display(row.file, row.name);
  showAnswer(row.answer);
}

/** Removes the photo. */
export function hide() {
  request.abort();
  current = row = null;
  byId("single").hidden = true;
  byId("progress").hidden = true;
  showProblem();
}

async function ask(onlyAlt = false) {
  request.abort();
  const controller = (request = new AbortController());
  const settings = selected();
  showProblem();
  if (!onlyAlt) {
    clear();
    byId("result").hidden = true;
  }
  const showProgress = (text) => {
    byId("progress").textContent = text;
    byId("progress").hidden = false;
    announce(text);
  };
  const message = settings.mayLoad ? "Waiting for the server. The first caption with a different model or strategy takes a few seconds …" : "Waiting for the server …";
  const timer = setTimeout(showProgress, SLOW, message);
  try {
    const answer = await fetchCaption(current, settings, controller.signal, (error) => showProgress(`${error.message} Waiting …`));
    if (controller.signal.aborted) return;
    const same = onlyAlt && [answer, ...answer.alternatives].find(({ caption: text }) => text === shownCaption);
    if (same) showAltText(same);
    else showAnswer(answer); // random sampling gives another caption every time
  } catch (error) {
    if (controller.signal.aborted) return;
    showProblem(error.message, error.retryable && (() => ask(onlyAlt)));
  } finally {
    clearTimeout(timer);
    if (request === controller) byId("progress").hidden = true;
  }
}

function showAnswer(answer) {
  const all = [answer, ...answer.alternatives];
  const select = (alternative, atOnce) => {
    shownCaption = alternative.caption;
    show(alternative, answer.language, atOnce);
    setLanguage(byId("alt"), answer.language);
    showAltText(alternative);
    const text = alternative.text ?? alternative.caption;
    byId("photo").alt = text || "The photo you chose";
    setLanguage(byId("photo"), text ? answer.language : "en");
  };
  byId("result").hidden = false;
  showOutcome(answer);
  select(answer, false);
  announce(announcement(answer));
  byId("alternatives").hidden = all.length === 1;
  byId("alternative-list").replaceChildren(...all.map((alternative, i) => {
    const button = element("button", { type: "button" }, setLanguage(element("span", { textContent: alternative.caption || "(empty)", dir: "auto" }), answer.language),
      element("span", { className: "note", textContent: `score ${alternative.score.toFixed(2)}` }));
    button.setAttribute("aria-pressed", String(i === 0));
    button.addEventListener("click", () => {
      for (const other of byId("alternative-list").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      select(alternative, true);
    });
    return element("li", {}, button);
  }));
}

/** Shows whether the model has declined to caption the photo, or is unsure; what it would have said is then hidden. */
function showOutcome({ outcome, text, language }) {
  const declined = outcome === "declined";
  byId("outcome").hidden = !declined && outcome !== "hedged";
  byId("outcome-text").textContent = declined ? text : "Perhaps: the model is unsure about this photo.";
  setLanguage(byId("outcome-text"), declined ? language : "en");
  byId("outcome-show").hidden = !declined;
  byId("sentences").hidden = declined;
}

function announcement({ outcome, text, caption: sentence }) {
  if (outcome === "declined") return text;
  return sentence ? `Caption: ${text ?? sentence}` : "The model gave an empty caption for this photo.";
}

/** Shows the alt text of a caption; edits go into the row of the table as well. */
function showAltText(alternative) {
  const edited = row; // `row` may have changed by the time of an edit
  const text = alternative === edited?.answer ? edited.alt : undefined;
  showAlt(alternative.alt_text, text, edited && ((value) => editRow(edited, value)));
}

function display(file, name) {
  if (objectUrl) URL.revokeObjectURL(objectUrl);
  objectUrl = URL.createObjectURL(file);
  byId("photo").hidden = byId("heatmap").hidden = false;
  byId("photo").alt = "The photo you chose";
  byId("photo").lang = "en";
  byId("photo").src = objectUrl;
  byId("photo-name").textContent = name;
  byId("single").hidden = false;
  // On a phone the photo is below everything else.
  if (byId("single").getBoundingClientRect().top > innerHeight / 2) byId("single").scrollIntoView();
}
