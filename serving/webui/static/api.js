// Requests to the server. Every failure is a RequestError, whose message is a sentence for the user.

import { asSentence, pause } from "./dom.js";

const TIMEOUT = 120_000; // milliseconds
const MAX_ATTEMPTS = 20;
const UNREACHABLE = "The server does not answer. It may have been stopped, or the network may be down.";

export class RequestError extends Error {
  /** `unreachable`: no answer; `busy`: the server asks to retry later; `retryable`: a retry may help. */
  constructor(message, { unreachable = false, busy = false, retryable = unreachable || busy } = {}) {
    super(message);
    Object.assign(this, { unreachable, busy, retryable });
  }
}

/** The models and strategies to choose from, and the largest image: {models, strategies, max_bytes}. */
export function fetchChoices() {
  return fetchJson("page/models", {});
}

/**
 * The caption of a photo.
 *
 * @param {Blob} file
 * @param {{model: string, strategy: string, maxLength: string, maxBytes: number}} settings
 * @param {AbortSignal} signal aborts the request.
 * @param {(error: RequestError) => void} onBusy is called when the server is busy, before a retry.
 */
export async function fetchCaption(file, settings, signal, onBusy = () => {}) {
  if (file.size > settings.maxBytes) {
    const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MB`;
    throw new RequestError(`This file is ${megabytes(file.size)}, but the server accepts at most ${megabytes(settings.maxBytes)}. ` +
      "Make the photo smaller and try again.");
  }
  const query = new URLSearchParams({ max_length: settings.maxLength });
  if (settings.model) query.set("model", settings.model);
  if (settings.strategy) query.set("strategy", settings.strategy);
  for (let attempt = 1; ; attempt++) {
    try {
      // The file is sent as it is: decoding it here would only cost time.
      return await fetchJson(`page/caption?${query}`, { method: "POST", body: file, signal });
    } catch (error) {
      if (error.unreachable && !(await readable(file))) {
        throw new RequestError("This file can no longer be read: it was moved or changed, or it is a folder.");
      }
      if (!error.busy || attempt === MAX_ATTEMPTS) throw error;
      onBusy(error);
      // With jitter, so that requests that were refused together do not return together.
      await pause(Math.min(4000, 250 * 1.5 ** attempt) * (0.75 + Math.random() / 2));
      signal.throwIfAborted();
    }
  }
}

async function fetchJson(address, options) {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT);
  const stop = () => timeout.abort();
  options.signal?.addEventListener("abort", stop);
  try {
    const headers = options.body ? { "Content-Type": "application/octet-stream" } : {};
    const response = await fetch(address, { ...options, headers, signal: timeout.signal, cache: "no-store" });
    const answer = await response.json().catch((error) => {
      if (error.name !== "SyntaxError") throw error;
      throw new RequestError(`The server gave an answer this page cannot read (status ${response.status}).`, { retryable: true });
    });
    if (response.ok) return answer;
    throw new RequestError(asSentence(String(answer.error ?? `the server failed with status ${response.status}`)), {
      busy: response.status === 429 || response.status === 503,
      retryable: response.status >= 500 || response.status === 429 || response.status === 408,
    });
  } catch (error) {
    if (error instanceof RequestError) throw error;
    options.signal?.throwIfAborted();
    throw new RequestError(timeout.signal.aborted ? "The server took too long to answer." : UNREACHABLE, { unreachable: true });
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
