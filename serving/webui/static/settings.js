// The choice of model, strategy, width and number of captions.

import { element, part } from "./page.js";

const known = { models: [], strategies: [], rerankers: [], max_bytes: Infinity };

/** Fills the form with what the server offers, and calls `changed` when somebody chooses something else. */
export function offer(found, changed) {
  Object.assign(known, found);
  part("model").replaceChildren(...known.models.map(({ name }) => element("option", { value: name, textContent: shortName(name) })));
  const rerankers = known.rerankers.map(({ name, label }) => element("option", { value: name, textContent: label }));
  part("rerank").replaceChildren(element("option", { value: "", textContent: "None" }), ...rerankers);
  showStrategies();
  part("settings").onsubmit = (event) => event.preventDefault();
  part("settings").onchange = ({ target }) => {
    if (target.id === "model") showStrategies();
    if (target.id === "strategy") showFields();
    const needsWords = !part("must").closest(".field").hidden && !part("must").value.trim();
    if (!needsWords) changed();
  };
}

/** What is chosen, as `captionOf` takes it. */
export function chosen() {
  const name = part("strategy").value;
  return {
    model: part("model").value,
    strategy: name && spec(name),
    maxLength: part("most").value || "125",
    maxBytes: known.max_bytes,
    fresh: Boolean(name) || part("model").selectedIndex > 0, // may have to be loaded first
  };
}

/** The row of the chosen model. */
export const model = () => known.models.find(({ name }) => name === part("model").value) ?? {};

/** The last part of a model's path or address, where that tells it from the others. */
function shortName(name) {
  const last = (path) => path.replace(/\/+$/, "").split("/").pop();
  return known.models.filter((other) => last(other.name) === last(name)).length === 1 ? last(name) : name;
}

function showStrategies() {
  const { any_strategy: any, good_for: purpose } = model();
  const rows = any ? known.strategies.map(({ name, label }) => element("option", { value: name, textContent: label })) : [];
  part("model-about").textContent = purpose ?? "";
  part("strategy").replaceChildren(element("option", { value: "", textContent: "Model default" }), ...rows);
  showFields();
}

function showFields() {
  const { about, options = {} } = strategy();
  const { problem, default: usual } = model();
  part("strategy-about").textContent = problem ?? about ?? (usual ? `Model default: ${usual}.` : "");
  const field = (id, shown, value) => {
    part(id).closest(".field").hidden = !shown;
    part(id).value = value ?? "";
  };
  field("width", "width" in options, options.width);
  field("count", "n_best" in options || "n" in options, options.n_best ?? options.n);
  field("must", "must_include" in options, "");
  field("rerank", "rerank" in options, "");
}

const strategy = () => known.strategies.find(({ name }) => name === part("strategy").value) ?? {};

/** The strategy as the server reads it, such as "beam(width=5, n_best=3)". */
function spec(name) {
  const { options } = strategy();
  const given = [];
  const number = (id, option) => {
    // What is no number goes to the server as it is, whose message says what it expected.
    if (option in options && part(id).value !== "") given.push(`${option}=${part(id).value}`);
  };
  number("width", "width");
  number("count", "n_best");
  number("count", "n");
  if ("must_include" in options) {
    const words = part("must").value.split(",").map((word) => word.trim()).filter(Boolean);
    given.push(`must_include=${JSON.stringify(words)}`);
  }
  if ("rerank" in options && part("rerank").value) given.push(`rerank=${JSON.stringify(part("rerank").value)}`);
  return given.length ? `${name}(${given.join(", ")})` : name;
}
