// A caption as a row of words, and the attention heatmap of the selected word.

import { draw, region } from "./heatmap.js";
import { byId, element, percent, setLanguage } from "./dom.js";

const WORD_DELAY = 250; // milliseconds a word while the caption is played
const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

let caption = null;
let words = []; // the buttons, in reading order
let timer = 0; // while the caption is played
let state = {}; // index of the word that is hovered, focused, pinned or played: the first of these is shown

/**
 * Shows a caption in a language; plays it word by word unless `atOnce`, or the user prefers reduced motion.
 *
 * Its words are in reading order: from the right in right-to-left scripts, by `dir="auto"` of their paragraph.
 */
export function show(answer, language, atOnce = false) {
  clear();
  caption = answer;
  setLanguage(byId("caption"), language);
  words = answer.words.map(wordButton);
  byId("no-heatmap").hidden = Boolean(answer.attention) || !words.length;
  showHint();
  if (atOnce || reducedMotion()) {
    gaps().forEach((gap, i) => byId("caption").append(gap, words[i]));
    byId("caption").append(ending());
    return;
  }
  const spaces = gaps();
  const play = (i) => {
    if (i === words.length) {
      byId("caption").append(ending());
      state.played = undefined;
      return highlight();
    }
    byId("caption").append(spaces[i], words[i]);
    state.played = i;
    highlight();
    timer = setTimeout(play, WORD_DELAY, i + 1);
  };
  play(0);
}

/** Removes the caption. */
export function clear() {
  clearTimeout(timer);
  caption = null;
  words = [];
  state = {};
  byId("caption").replaceChildren();
  byId("word-details").textContent = "";
  byId("no-heatmap").hidden = true;
  byId("heatmap").classList.remove("highlighted");
}

/** Unpins the pinned word. */
export function unpin() {
  if (state.pinned !== undefined) pin(state.pinned);
}

function wordButton(word, i) {
  const probability = percent(Math.exp(caption.word_logp[i]));
  const button = element("button", { type: "button", textContent: word });
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `${word}, ${probability}`);
  button.classList.toggle("plain", !caption.attention);
  const select = (how, on) => () => {
    state[how] = on ? i : undefined;
    highlight();
  };
  button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && select("hovered", true)());
  button.addEventListener("pointerleave", select("hovered", false));
  button.addEventListener("focus", () => button.matches(":focus-visible") && select("focused", true)());
  button.addEventListener("blur", select("focused", false));
  button.addEventListener("click", () => pin(i));
  return button;
}

function pin(i) {
  state.pinned = state.pinned === i ? undefined : i;
  words.forEach((button, index) => button.setAttribute("aria-pressed", String(index === state.pinned)));
  highlight();
}

function highlight() {
  const i = state.hovered ?? state.focused ?? state.pinned ?? state.played;
  words.forEach((button, index) => button.classList.toggle("highlighted", index === i));
  const grid = i === undefined ? null : caption.attention?.[i];
  byId("heatmap").classList.toggle("highlighted", Boolean(grid));
  if (i === undefined) return showHint();
  if (grid) draw(byId("heatmap"), grid);
  const place = grid ? ` It looked ${region(grid)}.` : "";
  // Isolated, so that a right-to-left word does not reorder the sentence around it.
  const word = setLanguage(element("bdi", { textContent: caption.words[i] }), byId("caption").lang);
  byId("word-details").replaceChildren("“", word, `”: the model gave this word a probability of ${percent(Math.exp(caption.word_logp[i]))}.${place}`);
}

/** The hint under the caption while no word is selected. */
function showHint() {
  const details = caption.attention ? "where the model looked and the probability of the word" : "its probability";
  byId("word-details").textContent = caption.words.length
    ? `Point at a word, or tap it, to see ${details}.`
    : "The model gave an empty caption for this photo.";
}

/** The text between the words of the caption; not every script has spaces. */
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
