// What the parts of the page do together.

import { choices } from "./ask.js";
import * as batch from "./batch.js";
import * as camera from "./camera.js";
import * as intake from "./intake.js";
import { announce, part, pause, tell } from "./page.js";
import { offer } from "./settings.js";
import * as single from "./single.js";

function taken(items, fromFolder, unreadable = 0) {
  const photos = fromFolder ? intake.photos(items) : items;
  if (!photos.length) return tell("No photos were found in what you dropped or chose.");
  document.body.classList.add("used");
  if (photos.length === 1 && !fromFolder) {
    batch.hide();
    single.caption(photos[0].file, photos[0].name);
  } else {
    single.hide();
    batch.caption(photos, { skipped: items.length - photos.length, unreadable });
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
batch.prepare((row) => {
  single.reveal(row);
  part("one").scrollIntoView({ block: "start" });
});
camera.prepare((file) => taken([{ file, name: file.name }], false));
intake.prepare(taken);
start();
document.documentElement.dataset.ready = "true";
