// Updates of a batch: server-sent events, and polling where a proxy blocks them or holds them back.

import { getJson } from "./api.js";
import { Poller } from "./poller.js";

// After so many failures in a row, polling is used instead.
const MAX_FAILURES = 3;
// The server sends a first event at once.  Where none arrives for so long, a proxy may be holding events back, or the
// server is slow: the page polls beside the stream, until an event arrives or the stream is given up.
const SILENCE_MS = 1500;
const GIVE_UP_MS = 12_000;
// If events have arrived before, the stream is opened again after this time.
const RETURN_MS = 60_000;
// A hidden tab closes its stream after this time.
const HIDDEN_MS = 30_000;
const REOPEN_MS = 1000;

export class BatchUpdates {
  #source = null;
  #cursor = "";
  #failures = 0;
  #silence = 0;
  #surrender = 0;
  #polling = false;
  #hidden = 0;
  #proved = false;
  #fallen = false;
  #fallenAt = 0;
  #ended = false;

  // urls: {events, results, fleet}.  on: results(list), state({accepted, answered, complete, state?}), fleet(hint),
  // trouble(), finished() -> are no more results expected?, missing(answered) -> has a result been missed?, deleted()
  constructor(urls, on) {
    this.urls = urls;
    this.on = on;
    this.poller = new Poller(urls.results, {
      page: (page) => this.#polled(page),
      trouble: () => on.trouble(),
      finished: (page) => this.#finished(page),
      missing: (page) => page.complete && on.missing(page.answered),
    });
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    addEventListener("online", () => this.run());
  }

  // "events" or "polling"; for tests and debugging.
  get way() {
    return this.#source && !this.#polling ? "events" : "polling";
  }

  // Starts to follow the batch; if already running, polls at once.
  run() {
    this.#ended = false;
    if (this.#fallen || document.hidden || !globalThis.EventSource) this.poller.run();
    else if (!this.#source) this.#open();
  }

  #open() {
    this.#stopPolling();
    const source = new EventSource(`${this.urls.events}?cursor=${encodeURIComponent(this.#cursor)}`);
    this.#source = source;
    this.#watchSilence();
    const listen = (kind, act) => source.addEventListener(kind, (event) => {
      this.#endWatch();
      this.#stopPolling();
      this.#failures = 0;
      this.#proved = true;
      // The end mark in the id means that all results were sent; a later stream starts without it.
      if (event.lastEventId) this.#cursor = event.lastEventId.split(".")[0];
      act(JSON.parse(event.data));
    });
    listen("started", () => {});
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
    this.#endWatch();
    const refused = source.readyState === EventSource.CLOSED;
    // The server ends a stream after some minutes and the browser reconnects: only a second failure is a problem.
    if (this.#failures > 1 || refused) this.on.trouble();
    if (refused || this.#failures >= MAX_FAILURES) this.#fall();
    else this.#watchSilence();
  }

  #watchSilence() {
    this.#endWatch();
    if (this.#proved) return;
    this.#silence = setTimeout(() => this.#poll(), SILENCE_MS);
    this.#surrender = setTimeout(() => this.#fall(), GIVE_UP_MS);
  }

  #endWatch() {
    clearTimeout(this.#silence);
    clearTimeout(this.#surrender);
  }

  #fall() {
    this.#close();
    this.#fallen = true;
    this.#fallenAt = performance.now();
    this.#poll();
  }

  #poll() {
    this.#polling = true;
    this.poller.cursor = this.#cursor;
    this.poller.run();
  }

  #stopPolling() {
    this.#polling = false;
    this.poller.stop();
  }

  #finished(page) {
    this.#ended = page.complete && this.on.finished();
    if (this.#ended) this.#close();
    return this.#ended;
  }

  #close() {
    this.#endWatch();
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
    // Before the first result, the page shows the state of the fleet.
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
