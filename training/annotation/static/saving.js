// Saves captions to the server: in order, again and again until it answers, and when the page is left.

const RETRY = 1000; // milliseconds

export class Saving {
  /**
   * @param {string} session of the images, as the server calls it.
   * @param {(number: number, answer: object) => void} onSaved is called when captions of an image are on disk.
   * @param {(message: string) => void} onProblem is called with a sentence, and with "" when it is over.
   */
  constructor(session, onSaved, onProblem) {
    Object.assign(this, { session, onSaved, onProblem });
    this.page = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
    this.revision = 0;
    this.pending = new Map(); // number of an image to its edit that is not on disk yet
    this.sending = null;
    addEventListener("pagehide", () => this.sendBeacons());
    addEventListener("visibilitychange", () => document.hidden && this.sendBeacons());
    addEventListener("beforeunload", (event) => this.failing && event.preventDefault());
  }

  /** Saves the captions of an image as soon as possible. */
  put(number, captions) {
    this.pending.set(number, { session: this.session, page: this.page, revision: ++this.revision, number, captions });
    this.sending ??= this.sendAll().finally(() => { this.sending = null; });
  }

  /** What is not on disk yet, sent without waiting for answers; the server drops what comes twice or late. */
  sendBeacons() {
    this.onLeave?.();
    for (const edit of this.pending.values()) {
      navigator.sendBeacon("captions", new Blob([JSON.stringify(edit)], { type: "application/json" }));
    }
  }

  async sendAll() {
    while (this.pending.size) {
      const edit = this.pending.values().next().value;
      const problem = await this.send(edit);
      this.failing = Boolean(problem);
      this.onProblem(problem);
      if (problem) await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }

  /** Sends one edit; returns what went wrong, or "". */
  async send(edit) {
    let answer;
    try {
      const headers = { "Content-Type": "application/json" };
      const response = await fetch("captions", { method: "POST", headers, body: JSON.stringify(edit) });
      answer = await response.json();
      if (!response.ok) return `Not saved: ${answer.error}. Trying again; keep this page open.`;
    } catch {
      return "Not saved: the server does not answer. Start it again and keep this page open: it tries again every second.";
    }
    // Unless the image was edited again meanwhile.
    if (this.pending.get(edit.number) === edit) this.pending.delete(edit.number);
    this.onSaved(edit.number, answer);
    return "";
  }
}
