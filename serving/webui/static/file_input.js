// Input of photos: dropped, pasted or chosen. Each becomes {file, name}.

import { byId } from "./dom.js";

/** Calls `onFiles(items, fromFolder, unreadable)` for every input; `items` may be empty. */
export function prepare(onFiles) {
  for (const id of ["files", "folder"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      const items = [...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
      input.value = ""; // so that the same file can be chosen again
      if (items.length) onFiles(items, id === "folder");
    });
  }
  byId("folder").labels[0].hidden = byId("folder").hidden = !("webkitdirectory" in byId("folder")); // phones have none
  let depth = 0; // of dragenter events
  const dragging = (on) => document.body.classList.toggle("dragging", on);
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => holdsFiles(event) && (depth++, dragging(true)));
  addEventListener("dragleave", (event) => holdsFiles(event) && --depth <= 0 && dragging(false));
  // On the whole page: a photo dropped beside the area would otherwise replace the page.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    dragging(false);
    drop(event.dataTransfer, onFiles);
  });
  addEventListener("paste", (event) => {
    const items = [...(event.clipboardData?.files ?? [])].map((file) => ({ file, name: file.name || "pasted photo" }));
    if (!items.length) return;
    event.preventDefault();
    onFiles(items, false);
  });
}

function drop(data, onFiles) {
  // Both must be read before the event ends.
  const files = [...data.files].map((file) => ({ file, name: file.name }));
  const entries = [...data.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return onFiles(files, false);
  const unreadable = { count: 0 };
  walk(entries.filter(Boolean), unreadable).then((items) => onFiles(items, true, unreadable.count));
}

/** All files of entries and of the folders among them; counts in `unreadable` those that cannot be opened. */
async function walk(entries, unreadable) {
  const items = [];
  for (const entry of entries) {
    try {
      if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        items.push({ file, name: entry.fullPath.replace(/^\//, "") });
      } else items.push(...(await walk(await children(entry), unreadable)));
    } catch {
      unreadable.count++;
    }
  }
  return items;
}

async function children(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const page = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!page.length) return entries;
    entries.push(...page);
  }
}

/** The files of a folder that may be photos. */
export function photos(items) {
  return items.filter(({ file, name }) => !/(^|\/)\./.test(name) && (!file.type || file.type.startsWith("image/")));
}
