// The virtualized image grid.  Only the frames near the screen exist; padding above and below replaces the others, so that
// ten thousand files cost as much as a hundred.

import { Frame } from "./frame.js";

const OVERSCAN_ROWS = 2;
// The time between two updates of filter and order while results arrive.
const REORDER_MS = 500;
const DEFAULT_ROW_PX = 300;
// The number of pictures that are decoded at a time.
const MAX_LOADING = 4;

export class ImageGrid {
  #frames = new Map();
  #planned = false;
  #orderedAt = -Infinity;
  #order = [];
  #loading = 0;
  #rowPx = DEFAULT_ROW_PX;
  #columns = 1;
  // The place, in the order, of the frame that the Tab key focuses.
  #active = 0;

  // on: open(file), shown(count)
  constructor(list, template, model, on) {
    this.list = list;
    this.template = template.content.firstElementChild;
    this.model = model;
    this.on = on;
    addEventListener("scroll", () => this.plan(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(list);
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#pressed(event));
    list.addEventListener("focusin", (event) => this.#focused(event));
  }

  // Schedules one drawing before the next repaint; further calls until then have no effect.
  plan() {
    if (this.#planned) return;
    this.#planned = true;
    const draw = () => {
      if (!this.#planned) return;
      this.#planned = false;
      this.#draw();
    };
    requestAnimationFrame(draw);
  }

  // Applies a change of filter, order or search at once.
  reorder() {
    this.#orderedAt = -Infinity;
    this.#active = -1;
    const top = this.list.getBoundingClientRect().top;
    if (top < 0) scrollBy(0, top - 120);
    this.plan();
  }

  // The file at a place in the order, and the place of a file.
  at(place) {
    return this.#order[place];
  }

  placeOf(file) {
    return this.#order.indexOf(file);
  }

  // Scrolls to a frame and focuses it: that of `file` or, if it is no longer shown, the one that is now at its `place`.
  focus(file, place) {
    this.#takeOrder();
    const found = this.placeOf(file);
    this.#active = Math.max(0, Math.min(found < 0 ? place : found, this.#order.length - 1));
    const row = Math.floor(this.#active / this.#columns);
    const top = this.list.getBoundingClientRect().top + row * this.#rowPx;
    const margin = 140;
    if (top < margin) scrollBy({ top: top - margin, behavior: "instant" });
    else if (top + this.#rowPx > innerHeight) scrollBy({ top: top + this.#rowPx - innerHeight + 8, behavior: "instant" });
    this.#draw();
    this.#frames.get(this.#order[this.#active])?.button.focus({ preventScroll: true });
  }

  #draw() {
    const focused = this.list.contains(document.activeElement);
    this.#takeOrder();
    const total = this.#order.length;
    const { first, end } = this.#window(total);
    const wanted = this.#order.slice(first, end);
    const keep = new Set(wanted);
    for (const [file, frame] of this.#frames) {
      if (!keep.has(file)) {
        frame.drop();
        this.#frames.delete(file);
      }
    }
    const reached = this.#active >= first && this.#active < end ? this.#active : first;
    wanted.forEach((file, index) => this.#place(file, index, first + index, total, reached));
    // Moving or removing an element removes its focus.
    if (focused && !this.list.contains(document.activeElement)) this.#reachable?.focus({ preventScroll: true });
    const rows = Math.ceil(total / this.#columns);
    this.list.style.paddingTop = `${(first / this.#columns) * this.#rowPx}px`;
    this.list.style.paddingBottom = `${Math.max(0, rows - Math.ceil(end / this.#columns)) * this.#rowPx}px`;
    if (this.#rowPx === DEFAULT_ROW_PX && wanted.length) this.#measure();
    this.#loadPictures();
  }

  #loadPictures() {
    for (const frame of this.#frames.values()) {
      if (this.#loading >= MAX_LOADING) return;
      if (frame.pending) this.#load(frame);
    }
  }

  async #load(frame) {
    this.#loading += 1;
    await frame.load();
    this.#loading -= 1;
    this.#loadPictures();
  }

  // The button that the Tab key focuses.
  get #reachable() {
    return this.list.querySelector('[tabindex="0"]');
  }

  #place(file, index, place, total, reached) {
    let frame = this.#frames.get(file);
    if (!frame) this.#frames.set(file, (frame = new Frame(this.template, file)));
    frame.element.dataset.place = place;
    frame.show(place + 1, total);
    frame.button.tabIndex = place === reached ? 0 : -1;
    if (this.list.children[index] !== frame.element) this.list.insertBefore(frame.element, this.list.children[index] ?? null);
  }

  // The range [first, end) of places that are on or near the screen.
  #window(total) {
    const top = this.#top;
    const rows = Math.ceil(total / this.#columns);
    const firstRow = Math.floor(Math.max(0, -top) / this.#rowPx) - OVERSCAN_ROWS;
    const lastRow = Math.ceil((innerHeight - top) / this.#rowPx) + OVERSCAN_ROWS;
    const first = Math.max(0, Math.min(firstRow, rows - 1)) * this.#columns;
    return { first, end: Math.max(first, Math.min(total, Math.max(1, lastRow) * this.#columns)) };
  }

  // Limits how often the filtered or sorted order changes while results arrive.
  #takeOrder() {
    const wait = this.#orderedAt + REORDER_MS - performance.now();
    if (this.model.selective && wait > 0) {
      setTimeout(() => this.plan(), wait);
    } else {
      this.#orderedAt = performance.now();
      this.#follow(this.model.visible);
    }
    this.on.shown(this.#order.length);
    this.#top = this.list.getBoundingClientRect().top;
  }

  #top = 0;

  // The active frame follows its file to the new order; if the file is no longer in it, the place stays active.
  #follow(order) {
    if (order === this.#order) return;
    const place = order.indexOf(this.#order[this.#active]);
    this.#active = Math.max(0, place < 0 ? Math.min(this.#active, order.length - 1) : place);
    this.#order = order;
  }

  #measure() {
    const style = getComputedStyle(this.list);
    const columns = style.gridTemplateColumns.split(" ").length;
    const frame = this.list.firstElementChild;
    const rowPx = frame ? frame.offsetHeight + Number.parseFloat(style.rowGap) : this.#rowPx;
    if (columns === this.#columns && rowPx === this.#rowPx) return;
    this.#columns = columns;
    this.#rowPx = rowPx;
    this.plan();
  }

  #placeOfEvent(event) {
    const item = event.target.closest?.("li");
    return item && event.target.closest("button") ? Number(item.dataset.place) : -1;
  }

  #clicked(event) {
    const place = this.#placeOfEvent(event);
    if (place >= 0) this.on.open(this.#order[place]);
  }

  #focused(event) {
    const place = this.#placeOfEvent(event);
    if (place < 0 || place === this.#active) return;
    this.#active = place;
    this.plan();
  }

  #pressed(event) {
    const place = this.#placeOfEvent(event);
    const last = this.#order.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns };
    const targets = { Home: 0, End: last };
    const target = targets[event.key] ?? place + (steps[event.key] ?? Number.NaN);
    if (place < 0 || Number.isNaN(target) || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (target >= 0 && target <= last) this.focus(this.at(target), target);
  }
}
