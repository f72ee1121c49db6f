// News of a batch: server-sent events, and polling where they do not come through.

import { getJson } from "./api.js";
import { Poller } from "./poller.js";

// So many failures in a row, or so long a silence before the first event (a proxy that gathers them), and we poll.
const MAX_FAILURES = 3;
const SILENCE_MS = 12_000;
// Where events have come through before, the stream is tried again after a while.
const RETURN_MS = 60_000;
// A tab that nobody looks at gives its stream back after a while.
const HIDDEN_MS = 30_000;
const REOPEN_MS = 1000;

export class Feed {
  #source = null;
  #cursor = "";
  #failures = 0;
  #silence = 0;
  #hidden = 0;
  #proved = false;
  #fallen = false;
  #fallenAt = 0;
  #ended = false;

  // urls: {events, results, fleet}.  on: results(list), state({accepted, answered, complete, state?}), fleet(hint),
  // trouble(), finished() -> will nothing more come?, missing(answered) -> has a result been missed?, deleted()
  constructor(urls, on) {
    this.urls = urls;
    this.on = on;
    this.poller = new Poller(urls.results, {
      page: (page) => this.#polled(page),
      trouble: () => on.trouble(),
      finished: (page) => (this.#ended = page.complete && on.finished()),
      missing: (page) => page.complete && on.missing(page.answered),
    });
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    addEventListener("online", () => this.run());
  }

  // "events" or "polling", to be seen in tests and in the page's data.
  get way() {
    return this.#source ? "events" : "polling";
  }

  // Starts, or looks at once where it already runs.
  run() {
    this.#ended = false;
    if (this.#fallen || document.hidden || !globalThis.EventSource) this.poller.run();
    else if (!this.#source) this.#open();
  }

  #open() {
    this.poller.stop();
    const source = new EventSource(`${this.urls.events}?cursor=${encodeURIComponent(this.#cursor)}`);
    this.#source = source;
    this.#watchSilence();
    const listen = (kind, act) => source.addEventListener(kind, (event) => {
      clearTimeout(this.#silence);
      this.#failures = 0;
      this.#proved = true;
      // The end mark says that all has been seen; when we come back, it is for more.
      if (event.lastEventId) this.#cursor = event.lastEventId.split(".")[0];
      act(JSON.parse(event.data));
    });
    listen("results", ({ results }) => this.on.results(results));
    listen("state", (state) => this.on.state(state));
    listen("fleet", (hint) => this.on.fleet(hint));
    listen("complete", (state) => this.#completed(state));
    listen("deleted", () => {
      this.#close();
      this.#ended = true;
      this.on.deleted();
    });
    source.addEventListener("error", () => this.#failed(source));
  }

  #completed({ answered }) {
    this.#close();
    if (this.on.missing(answered)) this.#cursor = "";
    else if (this.on.finished()) this.#ended = true;
    if (!this.#ended) setTimeout(() => this.#ended || this.run(), REOPEN_MS);
  }

  #failed(source) {
    if (source !== this.#source) return;
    this.#failures += 1;
    clearTimeout(this.#silence);
    const refused = source.readyState === EventSource.CLOSED;
    // A stream that has lived its time ends, and the browser comes back by itself: only a second failure is trouble.
    if (this.#failures > 1 || refused) this.on.trouble();
    if (refused || this.#failures >= MAX_FAILURES) this.#fall();
    else this.#watchSilence();
  }

  #watchSilence() {
    clearTimeout(this.#silence);
    if (!this.#proved) this.#silence = setTimeout(() => this.#fall(), SILENCE_MS);
  }

  #fall() {
    this.#close();
    this.#fallen = true;
    this.#fallenAt = performance.now();
    this.#poll();
  }

  #poll() {
    this.poller.cursor = this.#cursor;
    this.poller.run();
  }

  #close() {
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #polled(page) {
    this.#cursor = page.cursor;
    if (page.results.length) this.on.results(page.results);
    this.on.state(page);
    if (this.#fallen && this.#proved && performance.now() - this.#fallenAt > RETURN_MS) {
      this.#fallen = false;
      this.#failures = 0;
      this.run();
    }
    // Who waits for the first answer is told what for.
    if (!page.answered && page.accepted) this.#askFleet();
  }

  async #askFleet() {
    const status = await getJson(this.urls.fleet);
    const latest = status?.history.at(-1);
    this.on.fleet(latest ? { ...latest, expected_boot_seconds: status.expected_boot_seconds } : {});
  }

  #visibilityChanged() {
    clearTimeout(this.#hidden);
    if (this.#ended) return;
    if (!document.hidden) {
      this.run();
    } else if (this.#source) {
      this.#hidden = setTimeout(() => {
        this.#close();
        this.#poll();
      }, HIDDEN_MS);
    }
  }
}
