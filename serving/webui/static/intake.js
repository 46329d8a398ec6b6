// Where photos come from: dropped, pasted, chosen. Each becomes {file, name}.

import { part } from "./page.js";

/** Calls `taken(items, fromFolder, unreadable)` with whatever comes in; `items` may be empty. */
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
    const items = [...(event.clipboardData?.files ?? [])].map((file) => ({ file, name: file.name || "pasted photo" }));
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
  const lost = { count: 0 };
  walk(entries.filter(Boolean), lost).then((items) => taken(items, true, lost.count));
}

/** All files of entries and of the folders among them; counts in `lost` what is gone, or not ours to read. */
async function walk(entries, lost) {
  const items = [];
  for (const entry of entries) {
    try {
      if (entry.isFile) {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        items.push({ file, name: entry.fullPath.replace(/^\//, "") });
      } else items.push(...(await walk(await children(entry), lost)));
    } catch {
      lost.count++;
    }
  }
  return items;
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
