// What the modules under test expect of a browser: a clock, a page that can be hidden, and requests, all set by hand.

const realTimeout = globalThis.setTimeout;

// Lets everything run that waits for nothing but promises.
export function settle() {
  return new Promise((resolve) => realTimeout(resolve, 0));
}

// A clock whose time passes only in `advance`; replaces setTimeout, clearTimeout and performance.now.
export class Clock {
  now = 0;
  #timers = new Map();
  #numbers = 0;

  constructor() {
    globalThis.setTimeout = (act, milliseconds = 0) => {
      this.#numbers += 1;
      this.#timers.set(this.#numbers, { at: this.now + milliseconds, act });
      return this.#numbers;
    };
    globalThis.clearTimeout = (number) => this.#timers.delete(number);
    Object.defineProperty(globalThis, "performance", { configurable: true, value: { now: () => this.now } });
  }

  async advance(milliseconds) {
    const end = this.now + milliseconds;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [number, timer] = due;
      this.#timers.delete(number);
      this.now = Math.max(this.now, timer.at);
      timer.act();
      await settle();
    }
    this.now = end;
  }
}

// A page that can be hidden, and a window that events can be sent to.
export class Page {
  #targets = { document: new EventTarget(), window: new EventTarget() };
  hidden = false;

  constructor() {
    const { document, window } = this.#targets;
    Object.defineProperty(document, "hidden", { get: () => this.hidden });
    Object.assign(globalThis, {
      document,
      addEventListener: window.addEventListener.bind(window),
    });
  }

  setHidden(hidden) {
    this.hidden = hidden;
    this.#targets.document.dispatchEvent(new Event("visibilitychange"));
  }

  emit(kind) {
    this.#targets.window.dispatchEvent(new Event(kind));
  }
}

// Answers requests by `respond(url)`: fields are the JSON of an answer, null is one that never comes.
export function serve(respond) {
  const urls = [];
  globalThis.fetch = async (url) => {
    urls.push(url);
    const fields = respond(url);
    if (fields === null) throw new TypeError("the network failed");
    return { ok: true, json: async () => fields };
  };
  return urls;
}
