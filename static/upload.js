// A batch's upload from this tab: passes the uploader's events to the model and to the page.

import { isArchive, pathOf } from "./files.js";
import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";
import { formatBytes } from "./sizes.js";
import { Transfer } from "./transfer.js";
import { Uploader } from "./uploader.js";

export class Upload {
  #failed = [];
  // By path, since reading the size of each of ten thousand files at once would block the page.
  #chosen = new Map();
  count = 0;
  // How many images the batch will have in all; those of archives that the server has not opened yet are not counted.
  expected = 0;

  // limits: {imageBytes, archiveBytes}.  changed(): the page has to be updated; ended(): no upload is in progress.
  constructor(url, limits, model, notices, { changed, ended }) {
    this.limits = limits;
    this.model = model;
    this.notices = notices;
    this.changed = changed;
    this.ended = ended;
    this.transfer = new Transfer();
    this.uploader = new Uploader(url, limits.imageBytes, {
      weighed: (weight) => {
        this.transfer.expect(weight.bytes, weight.more);
        if (!weight.more && weight.large) this.#notifyLarge(weight.large, limits.imageBytes);
      },
      waiting: (chunk) => this.#mark(chunk, "waiting"),
      started: (chunk) => this.#mark(chunk, "uploading"),
      progress: (chunk, bytes) => this.#progress(chunk, bytes),
      settled: (chunk) => this.transfer.settle(chunk, performance.now()),
      stored: ({ key, position, name }) => model.stored(key, position, name),
      unpacked: (archive, full) => this.#unpacked(archive, full),
      failed: (chunk, sentence, again) => this.#lose(chunk, sentence, again),
      changed: () => this.#step(),
    });
    addEventListener("beforeunload", (event) => {
      if (this.busy) event.preventDefault();
    });
  }

  // Adds files, each with its position; `expected` is the number of images that the batch will have in all.
  add(files, positions, expected, keepOthers = true) {
    this.#remember(files);
    this.count += files.length;
    this.expected = Math.max(this.expected, expected);
    this.model.addFiles(files, positions, pathOf);
    this.uploader.addFiles(files, positions, keepOthers);
    this.changed();
  }

  // Adds ZIP archives, whose images get positions from `offset` on; more: files follow, whose sizes are not known yet.
  addArchives(archives, offset, keepOthers = true, more = false) {
    this.#remember(archives);
    this.uploader.addArchives(archives, offset, this.limits.archiveBytes, { keepOthers, more });
    this.changed();
  }

  // Whether this tab has sent a file already, or is about to.
  has(file) {
    const alike = this.#chosen.get(pathOf(file)) ?? [];
    return alike.some((other) => other.size === file.size && other.lastModified === file.lastModified);
  }

  #remember(files) {
    for (const file of files) {
      const path = pathOf(file);
      const alike = this.#chosen.get(path);
      if (alike) alike.push(file);
      else this.#chosen.set(path, [file]);
    }
  }

  get busy() {
    return this.uploader.busy;
  }

  get offline() {
    return this.uploader.offline;
  }

  // The number of failed files that can be sent again.
  get lost() {
    return this.#failed.reduce((sum, chunk) => sum + chunk.files.length, 0);
  }

  retry() {
    this.uploader.add(this.#failed.splice(0));
  }

  cancel() {
    this.uploader.cancel();
  }

  #mark(chunk, state, sentence = "") {
    // An archive is no image.
    if (!chunk.archive) this.model.mark(chunk.offset, chunk.files.length, state, sentence);
    this.changed();
  }

  #progress(chunk, bytes) {
    this.transfer.progress(chunk, bytes, performance.now());
    if (!chunk.archive) this.model.sent(chunk.offset, chunk.sizes, bytes);
    this.changed();
  }

  #lose(chunk, sentence, again) {
    this.transfer.forget(chunk);
    this.#mark(chunk, "lost", sentence);
    if (chunk.archive) this.notices.set(chunk, gettext("%(name)s: %(reason)s.", { name: chunk.files[0].name, reason: sentence }));
    if (again) this.#failed.push(chunk);
  }

  #unpacked({ name, files, hidden, others, known }, full) {
    this.count += files - full;
    this.expected += files - full;
    if (known) this.notices.set(`${name} known`, ngettext("Skipped %(count)s image in %(name)s: already in this batch.", "Skipped %(count)s images in %(name)s: already in this batch.", known, { count: show(known), name }));
    const left = hidden + others;
    if (left) this.notices.set(`${name} others`, ngettext("Skipped %(count)s other file in %(name)s.", "Skipped %(count)s other files in %(name)s.", left, { count: show(left), name }));
    if (full) this.notices.set(`${name} full`, ngettext("The batch is full; %(count)s image in %(name)s was skipped.", "The batch is full; %(count)s images in %(name)s were skipped.", full, { count: show(full), name }));
  }

  #notifyLarge(count, limit) {
    this.notices.set("large", ngettext("%(count)s is larger than %(size)s and will be refused.", "%(count)s are larger than %(size)s and will be refused.", count, { count: show(count), size: formatBytes(limit) }));
  }

  #step() {
    this.changed();
    if (this.busy) return;
    // They have been refused: their frames show it.
    this.notices.clear("large");
    this.ended();
  }
}
