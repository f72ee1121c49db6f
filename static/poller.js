// Asks for new results about once a second until the batch is complete.

const INTERVAL_MS = 1000;
const HIDDEN_INTERVAL_MS = 10_000;
const LONGEST_PAUSE_MS = 15_000;

export class Poller {
  #cursor = "";
  #wake = null;
  #running = false;

  // on: page(page), trouble(), finished(page) -> stop?, missing(page) -> has a result been missed?
  constructor(url, on) {
    this.url = url;
    this.on = on;
    document.addEventListener("visibilitychange", () => document.hidden || this.#wake?.());
  }

  // Asks now instead of after the pause; starts again where polling has ended.
  poke() {
    if (this.#running) this.#wake?.();
    else this.run();
  }

  async run() {
    if (this.#running) return;
    this.#running = true;
    let pause = INTERVAL_MS;
    for (;;) {
      const asked = performance.now();
      const page = await this.#fetch();
      if (page) {
        // The larger a batch, the dearer its listing: asking takes a quarter of the time at most.
        pause = Math.max(INTERVAL_MS, 3 * (performance.now() - asked));
        this.#cursor = page.cursor;
        this.on.page(page);
        if (page.more) continue;
        if (this.on.missing(page)) this.#cursor = "";
        else if (this.on.finished(page)) break;
      } else {
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
        this.on.trouble();
      }
      await this.#sleep(document.hidden ? Math.max(pause, HIDDEN_INTERVAL_MS) : pause);
    }
    this.#running = false;
  }

  // The next page of results, null where the server cannot be reached or does not know.
  async #fetch() {
    try {
      const response = await fetch(`${this.url}?cursor=${encodeURIComponent(this.#cursor)}`);
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
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
