// Polls for new results about once a second: used if events are blocked, or the tab is hidden.

import { getJson } from "./api.js";

const INTERVAL_MS = 1000;
const HIDDEN_INTERVAL_MS = 10_000;
const LONGEST_PAUSE_MS = 15_000;

export class Poller {
  #wake = () => {};
  #running = false;
  #stopped = true;
  cursor = "";

  // on: page(page), trouble(), finished(page) -> stop?, missing(page) -> has a result been missed?
  constructor(url, on) {
    this.url = url;
    this.on = on;
  }

  stop() {
    this.#stopped = true;
    this.#wake();
  }

  // Starts to poll; if already running, polls now instead of after the pause.
  async run() {
    this.#stopped = false;
    this.#wake();
    if (this.#running) return;
    this.#running = true;
    let pause = INTERVAL_MS;
    while (!this.#stopped) {
      const asked = performance.now();
      const page = await getJson(`${this.url}?cursor=${encodeURIComponent(this.cursor)}`);
      if (this.#stopped) break;
      if (page) {
        // Listing a large batch is expensive: requests take a quarter of the time at most.
        pause = Math.max(INTERVAL_MS, 3 * (performance.now() - asked));
        this.cursor = page.cursor;
        this.on.page(page);
        if (page.more) continue;
        if (this.on.missing(page)) this.cursor = "";
        else if (this.on.finished(page)) break;
      } else {
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
        this.on.trouble();
      }
      await this.#sleep(document.hidden ? Math.max(pause, HIDDEN_INTERVAL_MS) : pause);
    }
    this.#running = false;
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
