// Uploads files in chunks, a few at a time.  A chunk names the position of its first file, so that sending
// it again after a network error stores the same images under the same keys.

const CHUNK_FILES = 20;
const CHUNK_BYTES = 4 * 1024 * 1024;
const PARALLEL = 3;
const ATTEMPTS = 5;
const FIRST_PAUSE_MS = 500;

export class Uploader {
  #queue = [];
  #running = 0;

  // on: started(chunk), waiting(chunk), stored({key, position}), failed(chunk, sentence, again), changed()
  constructor(url, maxImageBytes, on) {
    this.url = url;
    this.maxImageBytes = maxImageBytes;
    this.on = on;
  }

  get busy() {
    return this.#running > 0 || this.#queue.length > 0;
  }

  addFiles(files) {
    this.add(split(files, this.maxImageBytes));
  }

  add(chunks) {
    for (const chunk of chunks) {
      this.on.waiting(chunk);
      this.#queue.push(chunk);
    }
    while (this.#running < PARALLEL && this.#queue.length) this.#work();
    this.on.changed();
  }

  async #work() {
    this.#running += 1;
    while (this.#queue.length) {
      await this.#send(this.#queue.shift());
      this.on.changed();
    }
    this.#running -= 1;
    this.on.changed();
  }

  async #send(chunk) {
    this.on.started(chunk);
    const attempts = chunk.alone ? 2 : ATTEMPTS;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.#post(chunk);
      if (outcome.report) {
        this.#settle(chunk, outcome.report);
        return;
      }
      if (outcome.final) {
        this.on.failed(chunk, outcome.sentence, true);
        return;
      }
      if (attempt === attempts) break;
      // Full jitter, so that three parallel chunks do not come back in step.
      await new Promise((resolve) => setTimeout(resolve, FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2)));
    }
    if (chunk.files.length === 1) {
      this.on.failed(chunk, "not uploaded", true);
      return;
    }
    // One file that cannot be read (moved, or on a lost disk) fails its whole request: the others go alone.
    const singles = chunk.files.map((file, index) => ({ offset: chunk.offset + index, files: [file], alone: true }));
    for (const single of singles) this.on.waiting(single);
    this.#queue.push(...singles);
  }

  async #post(chunk) {
    const form = new FormData();
    for (const file of chunk.files) {
      // Of a file above the limit, one byte more than the limit is enough to be told so.
      const body = file.size > this.maxImageBytes ? file.slice(0, this.maxImageBytes + 1) : file;
      form.append("images", body, file.name);
    }
    try {
      const response = await fetch(`${this.url}?offset=${chunk.offset}`, { method: "POST", body: form });
      if (response.ok) return { report: await response.json() };
      const problem = await response.json().catch(() => ({}));
      return { final: response.status < 500 && response.status !== 429, sentence: problem.detail ?? response.statusText };
    } catch {
      return { final: false };
    }
  }

  #settle(chunk, report) {
    for (const { key } of [...report.accepted, ...report.rejected]) {
      this.on.stored({ key, position: positionOf(key) });
    }
    for (const { position, code, error } of report.not_stored) {
      const single = { offset: position, files: [chunk.files[position - chunk.offset]] };
      this.on.failed(single, error, code !== "batch_full");
    }
  }
}

// The position in a key, "<batch id>/<position, five digits>-<name>".
export function positionOf(key) {
  return Number.parseInt(key.slice(key.indexOf("/") + 1), 10);
}

function split(files, maxImageBytes) {
  const chunks = [];
  let bytes = 0;
  files.forEach((file, position) => {
    const size = Math.min(file.size, maxImageBytes + 1);
    const last = chunks.at(-1);
    if (last && last.files.length < CHUNK_FILES && bytes + size <= CHUNK_BYTES) {
      last.files.push(file);
      bytes += size;
    } else {
      chunks.push({ offset: position, files: [file] });
      bytes = size;
    }
  });
  return chunks;
}
