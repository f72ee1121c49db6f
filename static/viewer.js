// The large view of one file: its picture, and the five labels that the model finds likeliest.

import { SENTENCES, percent } from "./frame.js";

const element = (id) => document.getElementById(id);

export class Viewer {
  #file = null;
  #shown = -1;
  // Where the file stood when it was described last.
  #place = 0;
  #blobUrl = "";

  constructor(sheet) {
    this.sheet = sheet;
    this.dialog = element("viewer");
    this.row = element("viewer-row").content.firstElementChild;
    this.image = element("viewer-image");
    this.image.addEventListener("error", () => this.#fallBack());
    element("viewer-previous").addEventListener("click", () => this.#step(-1));
    element("viewer-next").addEventListener("click", () => this.#step(1));
    element("viewer-close").addEventListener("click", () => this.#close());
    this.dialog.addEventListener("keydown", (event) => this.#pressed(event));
    // A phone's gesture closes it, too, of which one hears later; by then another file may be shown.
    this.dialog.addEventListener("close", () => !this.dialog.open && this.#file && this.#closed());
    // Outside of the dialog's content lies its backdrop.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.#close());
  }

  open(file) {
    this.#show(file);
    this.dialog.showModal();
  }

  // The answer may come while one looks.
  refresh() {
    if (this.dialog.open && this.#file.version !== this.#shown) this.#describe();
  }

  #show(file) {
    this.#release();
    this.#file = file;
    this.image.hidden = !file.file && !file.imageUrl;
    if (file.file) this.image.src = this.#blobUrl = URL.createObjectURL(file.file);
    else if (file.imageUrl) this.image.src = file.imageUrl;
    this.#describe();
  }

  #describe() {
    const file = this.#file;
    this.#shown = file.version;
    const place = this.sheet.placeOf(file);
    if (place >= 0) this.#place = place;
    this.dialog.dataset.state = file.state;
    element("viewer-number").textContent = file.position + 1;
    element("viewer-name").textContent = file.name;
    element("viewer-label").textContent = file.label || file.sentence || SENTENCES[file.state] || "";
    element("viewer-doubt").hidden = file.state !== "unsure";
    element("viewer-top").replaceChildren(...file.top.slice(0, 5).map((entry) => this.#line(entry)));
    element("viewer-model").textContent = file.model;
    element("viewer-by").hidden = !file.model || !file.label;
    element("viewer-original").hidden = !file.imageUrl;
    if (file.imageUrl) element("viewer-original").href = file.imageUrl;
    element("viewer-previous").disabled = !this.#neighbour(-1);
    element("viewer-next").disabled = !this.#neighbour(1);
  }

  #line({ label, score }) {
    const row = this.row.cloneNode(true);
    row.querySelector(".top-label").textContent = label;
    row.querySelector("meter").value = score;
    row.querySelector("meter").setAttribute("aria-label", `confidence in ${label}`);
    row.querySelector(".percent").textContent = score > 0 && score < 0.005 ? "<\u00a01\u00a0%" : percent(score);
    return row;
  }

  // Where the file is no longer among those shown, its place has been taken by what came after it.
  #neighbour(change) {
    const place = this.sheet.placeOf(this.#file);
    return this.sheet.at(place < 0 ? this.#place + Math.min(0, change) : place + change);
  }

  #step(change) {
    const next = this.#neighbour(change);
    if (next) this.#show(next);
    // A button that has just been disabled would take the focus with it.
    if (document.activeElement?.disabled !== false) element("viewer-close").focus();
  }

  #pressed(event) {
    if (event.key === "Escape") {
      // Left to the browser, the focus would first go to the frame that was opened, and from there on only later.
      event.preventDefault();
      this.#close();
      return;
    }
    const change = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!change || event.altKey) return;
    event.preventDefault();
    this.#step(change);
  }

  #close() {
    this.dialog.close();
    this.#closed();
  }

  // The focus goes to the frame of the file that was looked at last.
  #closed() {
    this.#release();
    const file = this.#file;
    this.#file = null;
    this.sheet.focus(file, this.#place);
  }

  #release() {
    this.image.removeAttribute("src");
    if (this.#blobUrl) URL.revokeObjectURL(this.#blobUrl);
    this.#blobUrl = "";
  }

  #fallBack() {
    if (this.#blobUrl && this.#file.imageUrl) {
      this.#release();
      this.image.src = this.#file.imageUrl;
    } else {
      this.image.hidden = true;
    }
  }
}
