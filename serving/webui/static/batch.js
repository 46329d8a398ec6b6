// A batch of photos: a queue of requests, a table of results, and files to download.

import { fetchCaption } from "./api.js";
import { fillRow, makeRows, orderRows, sort } from "./batch_rows.js";
import { byId, pause, showProblem } from "./dom.js";
import { csv, download, jsonLines } from "./download.js";
import { selected } from "./settings.js";

const CONCURRENCY = 4; // requests at a time
const ANNOUNCE_INTERVAL = 10_000; // milliseconds between announcements to screen readers

let rows = [];
let running = null; // {stop: AbortController, start, before, announced} while photos are being captioned

/** Connects the controls; `open(row)` shows a photo and its answer. */
export function prepare(open) {
  byId("stop").addEventListener("click", () => (running ? running.stop.abort() : start()));
  byId("save-csv").addEventListener("click", () => download(csv(done()), "captions.csv", "text/csv"));
  byId("save-jsonl").addEventListener("click", () => download(jsonLines(done()), "captions.jsonl", "application/jsonl"));
  byId("sort").addEventListener("change", sortTable);
  prepare.open = open;
}

/** Captions many photos, [{file, name}]; other files were `skipped`, or could not be opened at all (`unreadable`). */
export async function caption(items, { skipped = 0, unreadable = 0 } = {}) {
  abort();
  const names = unique(items.map(({ name }) => name));
  rows = items.map(({ file }, added) => ({ file, name: names[added], added, state: "waiting" }));
  Object.assign(rows, { skipped, unreadable });
  sort(rows, byId("sort").value);
  byId("batch").hidden = false;
  byId("save-csv").disabled = byId("save-jsonl").disabled = true;
  const batch = rows;
  const created = makeRows(rows, prepare.open);
  report();
  await created;
  if (batch !== rows) return;
  orderRows(rows);
  await start();
}

/** Stops and removes the table. */
export function hide() {
  abort();
  rows = [];
  byId("rows").replaceChildren();
  byId("batch").hidden = true;
}

function abort() {
  running?.stop.abort();
  running = null;
}

/** Names made unique: repeated ones get a number. */
function unique(names) {
  const taken = new Set(names);
  const used = new Set();
  return names.map((name) => {
    let unused = name;
    for (let i = 2; used.has(unused) || (unused !== name && taken.has(unused)); i++) unused = `${name} (${i})`;
    used.add(unused);
    return unused;
  });
}

/** Sorts the table, and the files to download, in the selected order. */
function sortTable() {
  sort(rows, byId("sort").value);
  orderRows(rows);
}

const files = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const done = () => rows.filter(({ state }) => state === "done");

async function start() {
  const run = (running = { stop: new AbortController(), start: performance.now(), before: done().length, announced: -Infinity });
  const batch = rows;
  const settings = selected();
  showProblem();
  byId("stop").hidden = false;
  await Promise.all(Array.from({ length: CONCURRENCY }, () => work(batch, settings, run)));
  if (batch !== rows || (running && running !== run)) return;
  running = null;
  if (byId("sort").value === "confidence") sortTable();
  report(run);
}

async function work(batch, settings, run) {
  for (;;) {
    const row = batch.find(({ state }) => state === "waiting");
    if (!row || run.stop.signal.aborted) return;
    row.state = "requested";
    try {
      row.answer = await fetchCaption(row.file, settings, run.stop.signal);
      row.error = undefined;
    } catch (error) {
      if (run.stop.signal.aborted || error.unreachable) {
        row.state = "waiting";
        if (error.unreachable && !run.stop.signal.aborted) {
          run.stop.abort();
          showProblem(error.message, () => { if (batch === rows && !running) start(); });
        }
        return;
      }
      row.error = error.message;
    }
    row.state = "done";
    fillRow(row);
    if (batch === rows) report(run);
    await pause(0); // lets the page repaint and handle events
  }
}

function report(run = null) {
  const [count, all] = [done().length, rows.length];
  const failed = rows.filter(({ error }) => error).length;
  const parts = [`${count} of ${files(all, "photo")}`];
  if (failed) parts.push(`${failed} failed`);
  if (running && run && count > run.before) {
    const rate = (count - run.before) / ((performance.now() - run.start) / 1000);
    parts.push(`${rate.toFixed(1)} per second`, `${duration((all - count) / rate)} left`);
  } else if (!running && run) parts.push(count === all ? "done" : "stopped");
  if (rows.skipped) parts.push(`${files(rows.skipped, "other file")} skipped`);
  if (rows.unreadable) parts.push(`${files(rows.unreadable, "file or folder", "files or folders")} could not be opened`);
  const text = parts.join(", ");
  byId("batch-text").textContent = text;
  byId("batch-progress").max = all;
  byId("batch-progress").value = count;
  byId("stop").textContent = running || !run ? "Stop" : "Continue";
  byId("stop").hidden = count === all;
  byId("save-csv").disabled = byId("save-jsonl").disabled = count === 0;
  // Not after every row: screen readers would never stop.
  if (run && (!running || performance.now() - run.announced > ANNOUNCE_INTERVAL)) {
    run.announced = performance.now();
    byId("batch-status").textContent = text;
  }
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.ceil(seconds / 60)} min`;
}
