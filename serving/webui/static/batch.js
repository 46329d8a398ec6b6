// Many photos: a queue of requests, a table that fills, and files to take away.

import { captionOf } from "./ask.js";
import { fillRow, makeRows, orderRows, sort } from "./batch_rows.js";
import { part, pause, tell } from "./page.js";
import { csv, download, jsonLines } from "./save.js";
import { chosen } from "./settings.js";

const TOGETHER = 4; // requests at a time
const QUIET = 10_000; // milliseconds between announcements to screen readers

let rows = [];
let running = null; // {stop: AbortController, start, before} while photos are being captioned

/** Connects the buttons; `open(row)` shows a photo and its answer. */
export function prepare(open) {
  part("stop").addEventListener("click", () => (running ? running.stop.abort() : go()));
  part("save-csv").addEventListener("click", () => download(csv(done()), "captions.csv", "text/csv"));
  part("save-jsonl").addEventListener("click", () => download(jsonLines(done()), "captions.jsonl", "application/jsonl"));
  part("sort").addEventListener("change", order);
  prepare.open = open;
}

/** Captions many photos, [{file, name}]; other files were `skipped`, or could not be opened at all (`unreadable`). */
export async function caption(items, { skipped = 0, unreadable = 0 } = {}) {
  halt();
  const names = apart(items.map(({ name }) => name));
  rows = items.map(({ file }, added) => ({ file, name: names[added], added, state: "waiting" }));
  Object.assign(rows, { skipped, unreadable });
  sort(rows, part("sort").value);
  part("batch").hidden = false;
  part("save-csv").disabled = part("save-jsonl").disabled = true;
  const mine = rows;
  const made = makeRows(rows, prepare.open);
  report();
  await made;
  if (mine !== rows) return;
  orderRows(rows);
  await go();
}

/** Stops and forgets. */
export function hide() {
  halt();
  rows = [];
  part("rows").replaceChildren();
  part("batch").hidden = true;
}

function halt() {
  running?.stop.abort();
  running = null;
}

/** Names, those that come again with a number that nobody has yet. */
function apart(names) {
  const taken = new Set(names);
  const seen = new Set();
  return names.map((name) => {
    let free = name;
    for (let i = 2; seen.has(free) || (free !== name && taken.has(free)); i++) free = `${name} (${i})`;
    seen.add(free);
    return free;
  });
}

/** Sorts the table, and what is downloaded, as is asked for. */
function order() {
  sort(rows, part("sort").value);
  orderRows(rows);
}

const files = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const done = () => rows.filter(({ state }) => state === "done");

async function go() {
  const run = (running = { stop: new AbortController(), start: performance.now(), before: done().length, spoken: -Infinity });
  const mine = rows;
  const settings = chosen();
  tell();
  part("stop").hidden = false;
  await Promise.all(Array.from({ length: TOGETHER }, () => work(mine, settings, run)));
  if (mine !== rows || (running && running !== run)) return;
  running = null;
  if (part("sort").value === "doubt") order();
  report(run);
}

async function work(mine, settings, run) {
  for (;;) {
    const row = mine.find(({ state }) => state === "waiting");
    if (!row || run.stop.signal.aborted) return;
    row.state = "asked";
    try {
      row.answer = await captionOf(row.file, settings, run.stop.signal);
      row.error = undefined;
    } catch (error) {
      if (run.stop.signal.aborted || error.away) {
        row.state = "waiting";
        if (error.away && !run.stop.signal.aborted) {
          run.stop.abort();
          tell(error.message, () => { if (mine === rows && !running) go(); });
        }
        return;
      }
      row.error = error.message;
    }
    row.state = "done";
    fillRow(row);
    if (mine === rows) report(run);
    await pause(0); // lets the page draw and hear
  }
}

function report(run = null) {
  const [count, all] = [done().length, rows.length];
  const failed = rows.filter(({ error }) => error).length;
  const parts = [`${count} of ${files(all, "photo")}`];
  if (failed) parts.push(`${failed} failed`);
  if (running && run && count > run.before) {
    const rate = (count - run.before) / ((performance.now() - run.start) / 1000);
    parts.push(`${rate.toFixed(1)} per second`, `${left((all - count) / rate)} left`);
  } else if (!running && run) parts.push(count === all ? "done" : "stopped");
  if (rows.skipped) parts.push(`${files(rows.skipped, "other file")} skipped`);
  if (rows.unreadable) parts.push(`${files(rows.unreadable, "file or folder", "files or folders")} could not be opened`);
  const text = parts.join(", ");
  part("batch-text").textContent = text;
  part("batch-bar").max = all;
  part("batch-bar").value = count;
  part("stop").textContent = running || !run ? "Stop" : "Continue";
  part("stop").hidden = count === all;
  part("save-csv").disabled = part("save-jsonl").disabled = count === 0;
  // Every row would be chatter.
  if (run && (!running || performance.now() - run.spoken > QUIET)) {
    run.spoken = performance.now();
    part("batch-status").textContent = text;
  }
}

function left(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.ceil(seconds / 60)} min`;
}
