// Uploads files in chunks, a few at a time.  A chunk names the position of its first file, so that sending
// it again after a network error stores the same images under the same keys.

import { reachable, sendForm } from "./api.js";
import { pathOf } from "./files.js";
import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";

const CHUNK_FILES = 20;
const CHUNK_BYTES = 4 * 1024 * 1024;
const PARALLEL = 3;
const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;
const OFFLINE_PAUSE_MS = 3000;
// Reading a file's size may access the disk: the loop over all files yields after this time, so that the page responds.
const WEIGHING_MS = 12;

export class Uploader {
  #queue = [];
  #running = new Set();
  #abort = new AbortController();
  #weighing = 0;
  // Archives are sent one after the other: only the response says how many positions the images of one take.
  #archives = [];
  #archiveInHand = null;
  #archiveOffset = 0;
  offline = false;

  // on: weighed({bytes, large, more}), waiting(chunk), started(chunk), progress(chunk, bytes), stored({key, position, name}),
  // settled(chunk), failed(chunk, sentence, again), unpacked({name, files, hidden, others}, full), changed()
  constructor(url, maxImageBytes, on) {
    this.url = url;
    this.maxImageBytes = maxImageBytes;
    this.on = on;
  }

  get busy() {
    return this.#weighing > 0 || this.#running.size > 0 || this.#queue.length > 0 || this.#archives.length > 0;
  }

  get cancelled() {
    return this.#abort.signal.aborted;
  }

  // Uploads files, each to its position; sending starts before all sizes have been read.  With `keepOthers` the server
  // stores nothing over another file.
  async addFiles(files, positions = files.map((_file, index) => index), keepOthers = false) {
    this.#weighing += 1;
    const empty = (offset) => ({ offset, files: [], sizes: [], bytes: 0, keepOthers });
    let chunk = empty(positions[0]);
    let large = 0;
    let until = performance.now() + WEIGHING_MS;
    for (const [index, file] of files.entries()) {
      // Of a file above the limit, one byte more than the limit suffices for the server to refuse it.
      const bytes = Math.min(file.size, this.maxImageBytes + 1);
      if (bytes > this.maxImageBytes) large += 1;
      if (!this.#hasRoom(chunk, positions[index], bytes)) {
        this.#addWeighed(chunk, large, true);
        chunk = empty(positions[index]);
      }
      chunk.files.push(file);
      chunk.sizes.push(bytes);
      chunk.bytes += bytes;
      if (performance.now() < until) continue;
      await pause(0);
      until = performance.now() + WEIGHING_MS;
      if (this.cancelled) {
        this.#loseRest(chunk, files.slice(index + 1), positions.slice(index + 1));
        break;
      }
    }
    this.#weighing -= 1;
    this.#addWeighed(chunk, large, this.#weighing > 0);
  }

  // A request has consecutive positions.
  #hasRoom(chunk, position, bytes) {
    const { length } = chunk.files;
    if (!length) return true;
    return length < CHUNK_FILES && chunk.bytes + bytes <= CHUNK_BYTES && position === chunk.offset + length;
  }

  #loseRest(chunk, files, positions) {
    files.forEach((file, index) => {
      const rest = { ...chunk, offset: positions[index], files: [file], sizes: [0], bytes: 0 };
      this.on.failed(rest, gettext("cancelled before its upload"), false);
    });
  }

  // Uploads ZIP archives, each in a request of its own, from position `offset` on.
  addArchives(files, offset, maxBytes, { keepOthers = false, more = false } = {}) {
    const chunks = files.map((file) => ({ files: [file], sizes: [file.size], bytes: file.size, archive: true, keepOthers }));
    const small = chunks.filter((chunk) => chunk.bytes <= maxBytes);
    for (const chunk of chunks) if (chunk.bytes > maxBytes) this.on.failed(chunk, gettext("larger than the limit"), false);
    this.#archiveOffset = Math.max(this.#archiveOffset, offset);
    this.on.weighed({ bytes: small.reduce((sum, chunk) => sum + chunk.bytes, 0), large: 0, more });
    this.add(small);
  }

  #addWeighed(chunk, large, more) {
    this.on.weighed({ bytes: chunk.bytes, large, more });
    if (this.cancelled) this.on.failed(chunk, gettext("cancelled before its upload"), false);
    else this.add([chunk]);
  }

  add(chunks) {
    for (const chunk of chunks) {
      this.on.waiting(chunk);
      (chunk.archive ? this.#archives : this.#queue).push(chunk);
    }
    this.#queueArchive();
    while (this.#running.size < PARALLEL && this.#queue.length) this.#work(Symbol("worker"));
    this.on.changed();
  }

  #queueArchive() {
    if (this.#archiveInHand || !this.#archives.length) return;
    this.#archiveInHand = this.#archives.shift();
    // Sent again, an archive keeps its positions.
    this.#archiveInHand.offset ??= this.#archiveOffset;
    this.#queue.push(this.#archiveInHand);
  }

  // Cancels at once; files that are not stored yet will not be.
  cancel() {
    this.#abort.abort();
    for (const chunk of [...this.#queue.splice(0), ...this.#archives.splice(0)]) this.on.failed(chunk, gettext("cancelled before its upload"), false);
    this.on.changed();
  }

  async #work(worker) {
    this.#running.add(worker);
    while (this.#queue.length) {
      await this.#send(this.#queue.shift());
      this.on.changed();
    }
    this.#running.delete(worker);
    this.on.changed();
  }

  async #send(chunk) {
    const attempts = chunk.alone ? 2 : ATTEMPTS;
    for (let attempt = 1; attempt <= attempts; ) {
      this.on.started(chunk);
      const { status, body, reason } = await this.#post(chunk);
      if (this.cancelled && status !== 200) {
        this.#fail(chunk, gettext("cancelled before its upload"), false);
        return;
      }
      if (status === 200) {
        this.#settle(chunk, body);
        return;
      }
      if (status >= 400 && status < 500 && status !== 429) {
        this.#fail(chunk, body.detail ?? reason, true);
        return;
      }
      if (status === 0 && !(await reachable())) {
        // Attempts without a network do not count.
        await this.#waitForNetwork(chunk);
        continue;
      }
      // Jitter, so that parallel chunks are not repeated at the same time.
      await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
      attempt += 1;
    }
    this.#giveUp(chunk);
  }

  #post(chunk) {
    const form = new FormData();
    chunk.files.forEach((file, index) => {
      const size = chunk.sizes[index];
      form.append("images", size > this.maxImageBytes ? file.slice(0, size) : file, pathOf(file));
    });
    const progress = (bytes) => this.on.progress(chunk, bytes);
    const query = `offset=${chunk.offset}${chunk.keepOthers ? "&keep_others=1" : ""}`;
    return sendForm(`${this.url}?${query}`, form, { progress, signal: this.#abort.signal });
  }

  async #waitForNetwork(chunk) {
    this.offline = true;
    this.on.waiting(chunk);
    this.on.changed();
    do {
      const online = new Promise((resolve) => addEventListener("online", resolve, { once: true }));
      await Promise.race([online, pause(OFFLINE_PAUSE_MS)]);
    } while (!this.cancelled && !(await reachable()));
    this.offline = false;
    this.on.changed();
  }

  #giveUp(chunk) {
    if (chunk.files.length === 1) {
      this.#fail(chunk, gettext("not uploaded"), true);
      return;
    }
    // A file that cannot be read (moved, or on a removed disk) fails its whole request: send each file separately.
    this.on.progress(chunk, 0);
    const singles = chunk.files.map((_file, index) => this.#single(chunk, index));
    for (const single of singles) this.on.waiting(single);
    this.#queue.push(...singles);
  }

  #fail(chunk, sentence, again) {
    this.on.failed(chunk, sentence, again);
    if (!chunk.archive) return;
    // The positions of the next archives are not known.
    for (const next of this.#archives.splice(0)) this.on.failed(next, gettext("not uploaded"), true);
    this.#archiveInHand = null;
  }

  #settle(chunk, report) {
    this.on.settled(chunk);
    if (chunk.archive) {
      this.#settleArchive(chunk, report);
      return;
    }
    for (const stored of [...report.accepted, ...report.rejected]) {
      this.on.stored({ key: stored.key, position: placeIn(chunk, stored) });
    }
    for (const { position, code, error } of report.not_stored) {
      const index = Math.min(Math.max(0, position - chunk.offset), chunk.files.length - 1);
      this.on.failed(this.#single(chunk, index), error, code !== "batch_full");
    }
  }

  #settleArchive(chunk, { accepted, rejected, not_stored: left, archives }) {
    for (const { key, name } of [...accepted, ...rejected]) this.on.stored({ key, position: positionOf(key), name });
    const full = left.filter(({ code }) => code === "batch_full").length;
    const count = accepted.length + rejected.length + left.length;
    // A file that is no archive in spite of its name is one file.
    this.on.unpacked(archives[0] ?? { name: chunk.files[0].name, files: count, hidden: 0, others: 0, known: 0 }, full);
    if (left.length > full) {
      this.#fail(chunk, ngettext("%(count)s of its images could not be stored", "%(count)s of its images could not be stored", left.length - full, { count: show(left.length - full) }), true);
      return;
    }
    this.#archiveOffset = Math.max(this.#archiveOffset, chunk.offset + count);
    this.#archiveInHand = null;
    this.#queueArchive();
  }

  #single(chunk, index) {
    const bytes = chunk.sizes[index];
    return { ...chunk, offset: chunk.offset + index, files: [chunk.files[index]], sizes: [bytes], bytes, alone: true };
  }
}

// The position to which a stored file of a chunk was sent: it is that of its key, unless another file was there.
function placeIn(chunk, { key, name }) {
  const position = positionOf(key);
  if (position >= chunk.offset && position < chunk.offset + chunk.files.length) return position;
  return chunk.offset + Math.max(0, chunk.files.findIndex((file) => pathOf(file) === name));
}

// The position in a key, "<batch id>/<position, five digits>-<name>".
export function positionOf(key) {
  return Number.parseInt(key.slice(key.indexOf("/") + 1), 10);
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
