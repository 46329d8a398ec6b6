// Where photos come from: dropped, pasted, chosen. Each becomes {file, name}.

import { part } from "./page.js";

/** Calls `taken(items, fromFolder)` with whatever comes in; `items` may be empty. */
export function prepare(taken) {
  for (const id of ["files", "folder"]) {
    const input = part(id);
    input.addEventListener("change", () => {
      const items = [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
      input.value = ""; // so that the same file can be chosen again
      if (items.length) taken(items, id === "folder");
    });
  }
  part("folder").labels[0].hidden = part("folder").hidden = !("webkitdirectory" in part("folder")); // phones have none
  let inside = 0;
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => holdsFiles(event) && (inside++, dragging(true)));
  addEventListener("dragleave", (event) => holdsFiles(event) && --inside <= 0 && dragging(false));
  // All over the page: a photo dropped beside the area would otherwise replace the page.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    dragging(false);
    drop(event.dataTransfer, taken);
  });
  addEventListener("paste", (event) => {
    const items = [...(event.clipboardData?.files ?? [])].map((file) => ({ file, name: file.name || "pasted picture" }));
    if (!items.length) return;
    event.preventDefault();
    taken(items, false);
  });
}

function drop(data, taken) {
  // Both must be read before the event ends.
  const files = [...data.files].map((file) => ({ file, name: file.name }));
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return taken(files, false);
  walk(entries.filter(Boolean)).then((items) => taken(items, true));
}

/** All files of entries and of the folders among them. */
async function walk(entries) {
  const found = [];
  for (const entry of entries) {
    try {
      if (entry.isFile) {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      } else found.push(...(await walk(await children(entry))));
    } catch {
      // Gone, or not ours to read: a folder is what can be read of it.
    }
  }
  return found;
}

async function children(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed)); // a hundred at a time
    if (!some.length) return found;
    found.push(...some);
  }
}

/** Of a folder's files those that may be photos. */
export function photos(items) {
  return items.filter(({ file, name }) => !/(^|\/)\./.test(name) && (!file.type || file.type.startsWith("image/")));
}
