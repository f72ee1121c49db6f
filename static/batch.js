// The batch on the page: its files, their upload from this tab, and the results as they arrive.

import { post } from "./api.js";
import { BatchUpdates } from "./batch_updates.js";
import { Model } from "./model.js";
import { ImageGrid } from "./image_grid.js";
import { BatchHeader } from "./batch_header.js";
import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";
import { Additions } from "./additions.js";
import { Notices } from "./notices.js";
import { ResponseTimes } from "./response_times.js";
import { Viewer } from "./viewer.js";

const SHOW_EVERY_MS = 100;
// An upload that was in progress during the cancellation may have been stored after it.
const CANCEL_AGAIN_MS = 3000;
const element = (id) => document.getElementById(id);

export class Batch {
  #upload = null;
  #planned = 0;
  #cancelAgain = 0;

  // urls: {results, events, fleet, cancel, times, images}; limits: {imageBytes, archiveBytes}
  constructor(urls, limits) {
    this.urls = urls;
    this.model = new Model();
    this.header = new BatchHeader(this.model);
    this.notices = new Notices(element("notice"));
    this.times = new ResponseTimes(element("response-times"), urls.times);
    this.additions = new Additions(this, urls.images, limits);
    this.grid = new ImageGrid(element("sheet"), element("frame"), this.model, {
      open: (file) => this.viewer.open(file),
      shown: (count) => this.#shown(count),
    });
    this.viewer = new Viewer(this.grid);
    this.updates = new BatchUpdates(urls, {
      results: (results) => this.#results(results),
      state: (page) => this.#state(page),
      fleet: (hint) => this.#fleet(hint),
      trouble: () => this.#trouble(true),
      // The counts that end the updates may be older than the response to the last upload.
      finished: () => !this.#upload?.busy && this.model.tally.answered >= this.model.tally.uploaded,
      missing: (answered) => this.model.tally.answered < answered,
      deleted: () => this.#deleted(),
    });
    element("retry").addEventListener("click", () => this.#upload.retry());
    element("cancel").addEventListener("click", () => element("cancel-dialog").showModal());
    element("cancel-yes").addEventListener("click", () => this.#cancel());
    this.#prepareTools();
    document.documentElement.batch = this;
  }

  // Adds the images that the server has rendered to the model, and follows the batch.
  adopt() {
    for (const item of element("sheet").children) this.model.addKnown(fieldsOf(item));
    element("sheet").replaceChildren();
    element("pager")?.remove();
    this.#show();
    this.updates.run();
  }

  // The upload of this tab; `start(model, callbacks)` creates the first.
  upload(start) {
    this.#upload ??= start(this.model, { changed: () => this.#plan(), ended: () => this.updates.run() });
    this.header.upload = this.#upload;
    return this.#upload;
  }

  get uploading() {
    return Boolean(this.#upload?.busy);
  }

  has(file) {
    return Boolean(this.#upload?.has(file));
  }

  // Shows the present state, and follows the batch.
  follow() {
    this.#show();
    this.updates.run();
  }

  #results(results) {
    for (const result of results) this.model.answer(result);
    this.#trouble(false);
  }

  #state(page) {
    this.header.page = page;
    this.#trouble(false);
    if (page.state === "cancelled" && !page.complete && page.accepted && !this.#cancelAgain) {
      this.#cancelAgain = setTimeout(() => this.#postCancel(), CANCEL_AGAIN_MS);
    }
  }

  #fleet(hint) {
    this.header.fleet = hint;
    this.#plan();
  }

  #trouble(is) {
    this.header.trouble = is;
    this.#plan();
  }

  #deleted() {
    this.header.deleted = true;
    this.#plan();
  }

  async #cancel() {
    element("cancel-dialog").close();
    this.#upload?.cancel();
    await this.#postCancel();
    this.updates.run();
  }

  async #postCancel() {
    this.#cancelAgain = 0;
    try {
      await post(this.urls.cancel);
      // The events may end before they mention it: a batch whose stored images are all answered is complete.
      this.model.cancelled = true;
      this.notices.clear("cancel");
      this.#plan();
    } catch {
      this.notices.set("cancel", gettext("The batch could not be cancelled. Check the connection and try again."));
    }
  }

  // Limits how often the page is updated.
  #plan() {
    this.#planned ||= setTimeout(() => this.#show(), SHOW_EVERY_MS);
  }

  #show() {
    clearTimeout(this.#planned);
    this.#planned = 0;
    this.header.show();
    this.times.show(this.header.done ? this.header.page.answered : 0);
    this.grid.plan();
    this.viewer.refresh();
    // Remaining time and speed change without any event.
    if (this.#upload?.busy || element("batch").dataset.state === "warming") this.#planned = setTimeout(() => this.#show(), 1000);
  }

  #prepareTools() {
    const look = (change) => {
      this.model.setView(change);
      this.grid.reorder();
    };
    element("filters").addEventListener("change", (event) => look({ filter: event.target.value }));
    element("sort").addEventListener("change", (event) => look({ sort: event.target.value }));
    element("search").addEventListener("input", (event) => look({ search: event.target.value }));
    // A browser that returns to the page restores the previous values.
    element("sort").value = "position";
    element("search").value = "";
    element("filter-all").checked = true;
  }

  #shown(count) {
    const all = this.model.tally.all;
    element("shown").hidden = count === all;
    const text = count ? ngettext("%(count)s of %(total)s shown", "%(count)s of %(total)s shown", all, { count: show(count), total: show(all) }) : gettext("No image matches.");
    if (element("shown").textContent !== text) element("shown").textContent = text;
  }
}

// Reads a file's fields from the frame that the server has rendered.
function fieldsOf(item) {
  const part = (name) => item.querySelector(`.${name}`)?.textContent ?? "";
  const state = item.dataset.state;
  const answered = state === "classified" || state === "unsure";
  return {
    key: item.dataset.key,
    position: Number(part("number")) - 1,
    name: part("name"),
    state,
    label: answered ? part("label") : "",
    sentence: state === "failed" ? part("label") : "",
    note: part("note"),
    score: answered ? item.querySelector("meter").value : null,
    imageUrl: item.querySelector("img")?.getAttribute("src") ?? null,
  };
}
