// What the parts of the page do together.

import { choices } from "./ask.js";
import * as batch from "./batch.js";
import * as camera from "./camera.js";
import * as intake from "./intake.js";
import { announce, part, pause, tell } from "./page.js";
import { offer } from "./settings.js";
import * as single from "./single.js";

function taken(items, fromFolder) {
  const found = fromFolder ? intake.photos(items) : items;
  if (!found.length) return tell("There is no photo in what you dropped or chose.");
  document.body.classList.add("used");
  if (found.length === 1 && !fromFolder) {
    batch.hide();
    single.caption(found[0].file, found[0].name);
  } else {
    single.hide();
    batch.caption(found, items.length - found.length);
  }
}

/** Asks what there is to choose from until the server, which may still be loading its model, says so. */
async function start() {
  for (;;) {
    try {
      const found = await choices();
      offer(found, () => single.recaption());
      part("working").hidden = true;
      const problem = found.models[0]?.problem;
      if (problem) tell(problem);
      return;
    } catch (error) {
      if (!error.busy) return tell(error.message, start);
      part("working").textContent = "The server is loading its model …";
      part("working").hidden = false;
      announce("The server is loading its model.");
      await pause(1000);
    }
  }
}

single.prepare();
batch.prepare(({ file, name, answer }) => {
  single.reveal(file, name, answer);
  part("one").scrollIntoView({ block: "start" });
});
camera.prepare((file) => taken([{ file, name: file.name }], false));
intake.prepare(taken);
start();
document.documentElement.dataset.ready = "true";
