// Adapting the model: starts it on the server and shows how far it is.

const INTERVAL = 2000; // milliseconds
const TEXTS = {
  idle: "",
  running: "Training on your captions. You can go on captioning.",
  ranking: "Trained. The new model captions the images that are left.",
  finished: "Finished: the new model has chosen what to caption next.",
  failed: "That failed; the captions are safe. Its last lines:",
};
const byId = (id) => document.getElementById(id);

function show({ state, lines, command }) {
  byId("command").textContent = command;
  byId("adapt-status").textContent = TEXTS[state] ?? state;
  byId("adapt-lines").textContent = lines.join("\n");
  byId("adapt-lines").hidden = !lines.length;
  byId("adapt").disabled = state === "running" || state === "ranking";
  byId("reload").hidden = state !== "finished";
}

async function ask(options = {}) {
  const response = await fetch("adapting", { cache: "no-store", ...options });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Shows the state from now on; `save` is called before training starts, `onProblem` with a sentence. */
export function startAdapting(save, onProblem) {
  const poll = async () => {
    try {
      show(await ask());
    } catch {
      // Shown where captions are saved; asked again.
    }
    setTimeout(poll, INTERVAL);
  };
  byId("adapt").addEventListener("click", async () => {
    save();
    try {
      show(await ask({ method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }));
    } catch (error) {
      onProblem(`The training did not start: ${error.message}.`);
    }
  });
  byId("reload").addEventListener("click", () => location.reload());
  poll();
}
