// A batch's upload from this tab: passes the uploader's events to the model and to the page.

import { pathOf } from "./files.js";
import { Transfer } from "./transfer.js";
import { Uploader } from "./uploader.js";

export class Upload {
  #failed = [];

  // changed(): the page has to be updated; ended(): no upload is in progress; large(count): the number of files above the
  // size limit.
  constructor(url, files, maxImageBytes, model, { changed, ended, large }) {
    this.model = model;
    this.changed = changed;
    this.ended = ended;
    this.count = files.length;
    this.transfer = new Transfer();
    this.uploader = new Uploader(url, maxImageBytes, {
      weighed: (weight) => {
        this.transfer.expect(weight.bytes, weight.more);
        if (!weight.more && weight.large) large(weight.large);
      },
      waiting: (chunk) => this.#mark(chunk, "waiting"),
      started: (chunk) => this.#mark(chunk, "uploading"),
      progress: (chunk, bytes) => this.#progress(chunk, bytes),
      settled: (chunk) => this.transfer.settle(chunk, performance.now()),
      stored: ({ key, position }) => model.stored(key, position),
      failed: (chunk, sentence, again) => this.#lose(chunk, sentence, again),
      changed: () => this.#step(),
    });
    model.addFiles(files, pathOf);
    addEventListener("beforeunload", (event) => {
      if (this.busy) event.preventDefault();
    });
    this.uploader.addFiles(files);
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
    this.model.mark(chunk.offset, chunk.files.length, state, sentence);
    this.changed();
  }

  #progress(chunk, bytes) {
    this.transfer.progress(chunk, bytes, performance.now());
    this.model.sent(chunk.offset, chunk.sizes, bytes);
    this.changed();
  }

  #lose(chunk, sentence, again) {
    this.transfer.forget(chunk);
    this.#mark(chunk, "lost", sentence);
    if (again) this.#failed.push(chunk);
  }

  #step() {
    this.changed();
    if (!this.busy) this.ended();
  }
}
