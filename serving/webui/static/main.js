// Connects the modules of the page.

import { fetchChoices } from "./api.js";
import * as batch from "./batch.js";
import * as camera from "./camera.js";
import * as fileInput from "./file_input.js";
import { announce, byId, pause, showProblem } from "./dom.js";
import { fillSettings } from "./settings.js";
import * as single from "./single.js";

function onFiles(items, fromFolder, unreadable = 0) {
  const photos = fromFolder ? fileInput.photos(items) : items;
  if (!photos.length) return showProblem("There are no photos in what you dropped or chose.");
  document.body.classList.add("used");
  if (photos.length === 1 && !fromFolder) {
    batch.hide();
    single.caption(photos[0].file, photos[0].name);
  } else {
    single.hide();
    batch.caption(photos, { skipped: items.length - photos.length, unreadable });
  }
}

/** Fetches the choices; retries while the server is loading its model. */
async function start() {
  for (;;) {
    try {
      const choices = await fetchChoices();
      fillSettings(choices, () => single.recaption());
      byId("progress").hidden = true;
      const problem = choices.models[0]?.problem;
      if (problem) showProblem(problem);
      return;
    } catch (error) {
      if (!error.busy) return showProblem(error.message, start);
      byId("progress").textContent = "The server is loading its model …";
      byId("progress").hidden = false;
      announce("The server is loading its model.");
      await pause(1000);
    }
  }
}

single.prepare();
batch.prepare((row) => {
  single.showRow(row);
  byId("single").scrollIntoView({ block: "start" });
});
camera.prepare((file) => onFiles([{ file, name: file.name }], false));
fileInput.prepare(onFiles);
start();
document.documentElement.dataset.ready = "true";
