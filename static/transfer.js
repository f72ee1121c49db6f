// The progress and speed of an upload.  Times are parameters, in milliseconds.

const WINDOW_MS = 8000;
const SHORTEST_MS = 1000;

export class Transfer {
  #settled = 0;
  #inFlight = new Map();
  #samples = [];

  totalBytes = 0;
  // Whether the total is not known yet.
  open = true;

  expect(bytes, more) {
    this.totalBytes += bytes;
    this.open = more;
  }

  get sentBytes() {
    let sum = this.#settled;
    for (const bytes of this.#inFlight.values()) sum += bytes;
    return Math.min(sum, this.totalBytes);
  }

  // Sets how much of a chunk has been sent; 0 if it has to be sent again.
  progress(chunk, bytes, nowMs) {
    this.#inFlight.set(chunk, Math.min(bytes, chunk.bytes));
    this.#sample(nowMs);
  }

  settle(chunk, nowMs) {
    this.#inFlight.delete(chunk);
    this.#settled += chunk.bytes;
    this.#sample(nowMs);
  }

  // Removes a chunk that failed, until it is sent again.
  forget(chunk) {
    this.#inFlight.delete(chunk);
  }

  // Bytes per second, over the last seconds; 0 until there are enough samples.
  speed(nowMs) {
    const recent = this.#samples.filter((sample) => sample.at > nowMs - WINDOW_MS);
    const first = recent[0];
    if (!first || nowMs - first.at < SHORTEST_MS) return 0;
    return Math.max(0, ((this.sentBytes - first.bytes) / (nowMs - first.at)) * 1000);
  }

  // Seconds until everything is sent; null if unknown.
  remainingSeconds(nowMs) {
    const speed = this.speed(nowMs);
    return speed > 0 && !this.open ? (this.totalBytes - this.sentBytes) / speed : null;
  }

  #sample(nowMs) {
    const last = this.#samples.at(-1);
    if (last && nowMs - last.at < 200) return;
    this.#samples.push({ at: nowMs, bytes: this.sentBytes });
    while (this.#samples[0].at < nowMs - WINDOW_MS) this.#samples.shift();
  }
}
