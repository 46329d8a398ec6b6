// A caption as words that can be pointed at, and the map of the word that is pointed at.

import { draw, whereabouts } from "./heatmap.js";
import { element, part, percent } from "./page.js";

const BEAT = 250; // milliseconds of a word while the sentence is being said
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

let caption = null;
let words = []; // the buttons, in reading order
let saying = 0; // a timer, while the sentence is being said
let state = {}; // which word is pointed at, focused, pinned or being said: the first of these is shown

/** Shows a caption; says it word by word unless `at once` or less motion is asked for. */
export function show(found, atOnce = false) {
  clear();
  caption = found;
  words = found.words.map(wordButton);
  part("no-map").hidden = Boolean(found.attention) || !words.length;
  rest();
  if (atOnce || still()) {
    gaps().forEach((gap, i) => part("sentence").append(gap, words[i]));
    part("sentence").append(ending());
    return;
  }
  const between = gaps();
  const say = (i) => {
    if (i === words.length) {
      part("sentence").append(ending());
      state.said = undefined;
      return light();
    }
    part("sentence").append(between[i], words[i]);
    state.said = i;
    light();
    saying = setTimeout(say, BEAT, i + 1);
  };
  say(0);
}

/** Takes the caption away. */
export function clear() {
  clearTimeout(saying);
  caption = null;
  words = [];
  state = {};
  part("sentence").replaceChildren();
  part("word").textContent = "";
  part("no-map").hidden = true;
  part("map").classList.remove("lit");
}

/** Lets go of a word that was pinned. */
export function unpin() {
  if (state.pinned !== undefined) pin(state.pinned);
}

function wordButton(word, i) {
  const chance = percent(Math.exp(caption.word_logp[i]));
  const button = element("button", { type: "button", textContent: word });
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${word}, ${chance}`);
  button.classList.toggle("plain", !caption.attention);
  const point = (what, on) => () => {
    state[what] = on ? i : undefined;
    light();
  };
  button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && point("hovered", true)());
  button.addEventListener("pointerleave", point("hovered", false));
  button.addEventListener("focus", () => button.matches(":focus-visible") && point("focused", true)());
  button.addEventListener("blur", point("focused", false));
  button.addEventListener("click", () => pin(i));
  return button;
}

function pin(i) {
  state.pinned = state.pinned === i ? undefined : i;
  words.forEach((button, place) => button.setAttribute("aria-pressed", String(place === state.pinned)));
  light();
}

function light() {
  const i = state.hovered ?? state.focused ?? state.pinned ?? state.said;
  words.forEach((button, place) => button.classList.toggle("lit", place === i));
  const grid = i === undefined ? null : caption.attention?.[i];
  part("map").classList.toggle("lit", Boolean(grid));
  if (i === undefined) return rest();
  if (grid) draw(part("map"), grid);
  const looked = grid ? ` It looked ${whereabouts(grid)}.` : "";
  part("word").textContent = `“${caption.words[i]}”: the model gave this word a probability of ${percent(Math.exp(caption.word_logp[i]))}.${looked}`;
}

/** What stands under the sentence while no word is pointed at. */
function rest() {
  const what = caption.attention ? "where the model looked and how likely it thought the word was" : "how likely the model thought it was";
  part("word").textContent = caption.words.length
    ? `Point at a word, or tap it, to see ${what}.`
    : "The model has nothing to say about this photo.";
}

/** What stands between the words in the caption; not every script has spaces. */
function gaps() {
  let from = 0;
  return caption.words.map((word, i) => {
    const at = caption.caption.indexOf(word, from);
    const gap = at < 0 ? (i ? " " : "") : caption.caption.slice(from, at);
    if (at >= 0) from = at + word.length;
    return gap;
  });
}

function ending() {
  const last = words.length ? caption.words[words.length - 1] : "";
  const at = caption.caption.lastIndexOf(last);
  return at < 0 || !last ? "" : caption.caption.slice(at + last.length);
}
