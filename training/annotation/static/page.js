// One image at a time: the model's proposal, what is typed in its place, and the keys.

import { startAdapting } from "./adapting.js";
import { Saving } from "./saving.js";

const PAUSE = 500; // milliseconds without a key until captions are saved
const byId = (id) => document.getElementById(id);

let images = [], version = 0, position = 0, mostCaptions = 5, saving = null, timer = null;

const fields = () => [...byId("fields").querySelectorAll("textarea")];
const texts = () => fields().map((field) => field.value).filter((text) => text.trim());
const current = () => images[position];

function showProblem(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
}

function showProgress() {
  const captioned = images.filter((image) => image.captions.length).length;
  byId("progress-text").textContent = `${Math.min(position + 1, images.length)} of ${images.length}, ${captioned} captioned`;
  byId("progress").max = images.length;
  byId("progress").value = captioned;
  byId("end-text").textContent = `${captioned} of ${images.length} images are captioned.`;
}

function addField(text) {
  const count = fields().length + 1;
  const label = document.createElement("label"), field = document.createElement("textarea");
  label.textContent = count === 1 ? "Caption" : `Caption ${count}, if there is another`;
  Object.assign(field, { id: `caption-${count}`, rows: 2, value: text, dir: "auto", maxLength: 1000, spellcheck: true });
  label.htmlFor = field.id;
  field.addEventListener("input", onInput);
  field.addEventListener("blur", saveNow);
  const row = document.createElement("div");
  row.append(label, field);
  byId("fields").append(row);
  return field;
}

/** Keeps one empty field behind the captions. */
function extendFields() {
  const all = fields();
  if (all.length < mostCaptions && all.at(-1)?.value.trim() !== "") addField("");
}

function show(index) {
  position = Math.max(0, Math.min(index, images.length));
  const image = current();
  byId("work").hidden = !image;
  byId("end").hidden = Boolean(image);
  showProgress();
  if (!image) {
    byId("end-title").focus();
    return;
  }
  image.before = image.captions;
  image.edited = false;
  byId("image").src = `images/${image.number}`;
  byId("image").alt = `Image ${image.name}`;
  const uncertainty = image.uncertainty ? ` · uncertainty ${image.uncertainty.toFixed(2)}` : "";
  byId("name").textContent = image.name + uncertainty;
  byId("saved").textContent = image.captions.length ? "Saved." : "Proposed by the model, not saved.";
  byId("fields").replaceChildren();
  for (const text of image.captions.length ? image.captions : [image.proposal]) addField(text);
  extendFields();
  byId("back").disabled = position === 0;
  fields()[0].focus();
  fields()[0].select();
  if (images[position + 1]) new Image().src = `images/${images[position + 1].number}`;
}

function onInput() {
  current().edited = true;
  byId("saved").textContent = "Not saved yet.";
  extendFields();
  clearTimeout(timer);
  timer = setTimeout(saveNow, PAUSE);
}

function put(image, captions) {
  image.captions = captions;
  saving.put(image.number, captions);
}

/** Saves what was typed since the last save. */
function saveNow() {
  if (timer === null) return;
  clearTimeout(timer);
  timer = null;
  if (current()) put(current(), texts());
}

function accept() {
  clearTimeout(timer);
  timer = null;
  put(current(), texts());
  show(position + 1);
}

function skip() {
  const image = current();
  clearTimeout(timer);
  timer = null;
  if (image.edited) put(image, image.before);
  show(position + 1);
}

function go(step) {
  saveNow();
  show(position + step);
}

function onKey(event) {
  if (event.isComposing) return; // Enter and Esc then belong to the input method
  const sideways = event.altKey && !event.ctrlKey, vertical = event.ctrlKey && !event.altKey;
  const step = { ArrowLeft: sideways && -1, ArrowRight: sideways && 1, ArrowUp: vertical && -1, ArrowDown: vertical && 1 }[event.key];
  if (step) {
    event.preventDefault();
    go(step);
  } else if (event.key === "Enter" && event.target.matches("textarea") && !event.ctrlKey && !event.altKey && !event.metaKey) {
    event.preventDefault();
    accept();
  } else if (event.key === "Escape" && current()) {
    event.preventDefault();
    skip();
  }
}

function onSaved(number, answer) {
  const image = images.find((other) => other.number === number);
  if (!saving.pending.has(number)) image.captions = answer.captions;
  if (image === current() && timer === null && !saving.pending.has(number)) {
    byId("saved").textContent = image.captions.length ? "Saved." : "No caption saved.";
  }
  showProgress();
}

async function fetchState() {
  const response = await fetch("state", { cache: "no-store" });
  const state = await response.json();
  if (!response.ok) throw new Error(state.error);
  return state;
}

/** Takes over what other pages saved meanwhile, so that Enter does not undo it. */
async function refresh() {
  const state = await fetchState().catch(() => null); // an unreachable server is reported when something is saved
  if (state?.version !== version || state.session !== saving.session) return;
  for (const { number, captions } of state.images) {
    const image = images.find((other) => other.number === number);
    if (saving.pending.has(number) || (image === current() && image.edited)) continue;
    const changed = captions.join("\n") !== image.captions.join("\n");
    image.captions = captions;
    if (changed && image === current()) show(position);
  }
  showProgress();
}

async function start() {
  try {
    const state = await fetchState();
    ({ images, version, max_captions: mostCaptions } = state);
    saving = new Saving(state.session, onSaved, showProblem);
    saving.onLeave = saveNow;
    byId("file").textContent = state.file;
  } catch (error) {
    showProblem(`The images cannot be shown: ${error.message}. Is the server running?`);
    return;
  }
  addEventListener("keydown", onKey);
  addEventListener("blur", saveNow);
  addEventListener("focus", refresh);
  byId("next").addEventListener("click", accept);
  byId("skip").addEventListener("click", skip);
  byId("back").addEventListener("click", () => go(-1));
  byId("end-back").addEventListener("click", () => go(-1));
  const first = images.findIndex((image) => !image.captions.length);
  show(first < 0 ? images.length : first);
  startAdapting(saveNow, showProblem);
}

start();
