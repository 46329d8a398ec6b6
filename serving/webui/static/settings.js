// The settings: model, strategy, beam width and number of captions.

import { byId, element } from "./dom.js";

const choices = { models: [], strategies: [], rerankers: [], max_bytes: Infinity };

/** Fills the form with the choices of the server, and calls `onChange` when the user changes a setting. */
export function fillSettings(fetched, onChange) {
  Object.assign(choices, fetched);
  byId("model").replaceChildren(...choices.models.map(({ name }) => element("option", { value: name, textContent: shortName(name) })));
  const rerankers = choices.rerankers.map(({ name, label }) => element("option", { value: name, textContent: label }));
  byId("rerank").replaceChildren(element("option", { value: "", textContent: "None" }), ...rerankers);
  showStrategies();
  byId("settings").onsubmit = (event) => event.preventDefault();
  byId("settings").onchange = ({ target }) => {
    if (target.id === "model") showStrategies();
    if (target.id === "strategy") showFields();
    const wordsMissing = !byId("must-include").closest(".field").hidden && !byId("must-include").value.trim();
    if (!wordsMissing) onChange();
  };
}

/** The selected settings, as `fetchCaption` takes them. */
export function selected() {
  const name = byId("strategy").value;
  return {
    model: byId("model").value,
    strategy: name && spec(name),
    maxLength: byId("max-length").value || "125",
    maxBytes: choices.max_bytes,
    mayLoad: Boolean(name) || byId("model").selectedIndex > 0, // the server may have to load a model first
  };
}

/** The row of the selected model. */
export const model = () => choices.models.find(({ name }) => name === byId("model").value) ?? {};

/** The last part of a model's path or address, where it is unique. */
function shortName(name) {
  const last = (path) => path.replace(/\/+$/, "").split("/").pop();
  return choices.models.filter((other) => last(other.name) === last(name)).length === 1 ? last(name) : name;
}

function showStrategies() {
  const { chooses_strategy: free, description } = model();
  const rows = free ? choices.strategies.map(({ name, label }) => element("option", { value: name, textContent: label })) : [];
  byId("model-about").textContent = description ?? "";
  byId("strategy").replaceChildren(element("option", { value: "", textContent: "Model default" }), ...rows);
  showFields();
}

function showFields() {
  const { description, options = {} } = strategy();
  const { problem, default_strategy: fallback } = model();
  byId("strategy-about").textContent = problem ?? description ?? (fallback ? `Model default: ${fallback}.` : "");
  const field = (id, visible, value) => {
    byId(id).closest(".field").hidden = !visible;
    byId(id).value = value ?? "";
  };
  field("width", "width" in options, options.width);
  field("n-best", "n_best" in options || "n" in options, options.n_best ?? options.n);
  field("must-include", "must_include" in options, "");
  field("rerank", "rerank" in options, "");
}

const strategy = () => choices.strategies.find(({ name }) => name === byId("strategy").value) ?? {};

/** The strategy as a spec, such as "beam(width=5, n_best=3)". */
function spec(name) {
  const { options } = strategy();
  const args = [];
  const number = (id, option) => {
    // Sent as it is if it is not a number: the error of the server says what it expects.
    if (option in options && byId(id).value !== "") args.push(`${option}=${byId(id).value}`);
  };
  number("width", "width");
  number("n-best", "n_best");
  number("n-best", "n");
  if ("must_include" in options) {
    const words = byId("must-include").value.split(",").map((word) => word.trim()).filter(Boolean);
    args.push(`must_include=${JSON.stringify(words)}`);
  }
  if ("rerank" in options && byId("rerank").value) args.push(`rerank=${JSON.stringify(byId("rerank").value)}`);
  return args.length ? `${name}(${args.join(", ")})` : name;
}
