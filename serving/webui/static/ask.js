// Asking the server. Whatever goes wrong becomes a Problem, whose message is a sentence for people.

import { pause, sentence } from "./page.js";

const PATIENCE = 120_000; // milliseconds that an answer may take
const TRIES = 20;
const AWAY = "The server does not answer. It may have been stopped, or the network may be down.";

export class Problem extends Error {
  /** `away`: the server cannot be reached; `busy`: it asks to come back later; `passing`: trying again may help. */
  constructor(message, { away = false, busy = false, passing = away || busy } = {}) {
    super(message);
    Object.assign(this, { away, busy, passing });
  }
}

/** What can be chosen, and what the server takes: {models, strategies, max_bytes}. */
export function choices() {
  return answerOf("page/models", {});
}

/**
 * The caption of a photo.
 *
 * @param {Blob} file
 * @param {{model: string, strategy: string, maxLength: string, maxBytes: number}} chosen
 * @param {AbortSignal} signal gives up.
 * @param {(why: Problem) => void} waiting is told when the server is busy and will be asked again.
 */
export async function captionOf(file, chosen, signal, waiting = () => {}) {
  if (file.size > chosen.maxBytes) {
    const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
    throw new Problem(`This file is ${megabytes(file.size)}, but the server accepts at most ${megabytes(chosen.maxBytes)}. ` +
      "Make the photo smaller and try again.");
  }
  const query = new URLSearchParams({ max_length: chosen.maxLength });
  if (chosen.model) query.set("model", chosen.model);
  if (chosen.strategy) query.set("strategy", chosen.strategy);
  for (let attempt = 1; ; attempt++) {
    try {
      // The file goes as it is: decoding it here would only cost time.
      return await answerOf(`page/caption?${query}`, { method: "POST", body: file, signal });
    } catch (error) {
      if (error.away && !(await readable(file))) {
        throw new Problem("This file can no longer be read: it was moved or changed, or it is a folder.");
      }
      if (!error.busy || attempt === TRIES) throw error;
      waiting(error);
      // Not all in step, lest requests that were refused together come back together.
      await pause(Math.min(4000, 250 * 1.5 ** attempt) * (0.75 + Math.random() / 2));
      signal.throwIfAborted();
    }
  }
}

async function answerOf(address, options) {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), PATIENCE);
  const stop = () => late.abort();
  options.signal?.addEventListener("abort", stop);
  try {
    const headers = options.body ? { "Content-Type": "application/octet-stream" } : {};
    const reply = await fetch(address, { ...options, headers, signal: late.signal, cache: "no-store" });
    const answer = await reply.json().catch((error) => {
      if (error.name !== "SyntaxError") throw error;
      throw new Problem(`The server gave an answer this page cannot read (status ${reply.status}).`, { passing: true });
    });
    if (reply.ok) return answer;
    throw new Problem(sentence(String(answer.error ?? `the server failed with status ${reply.status}`)), {
      busy: reply.status === 429 || reply.status === 503,
      passing: reply.status >= 500 || reply.status === 429 || reply.status === 408,
    });
  } catch (error) {
    if (error instanceof Problem) throw error;
    options.signal?.throwIfAborted();
    throw new Problem(late.signal.aborted ? "The server took too long to answer." : AWAY, { away: true });
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", stop);
  }
}

async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
