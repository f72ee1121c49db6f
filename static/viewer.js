// The large view of one file: its picture and its five likeliest labels.

import { SENTENCES } from "./frame.js";
import { gettext } from "./messages.js";
import { answerOf, groupTitle, inPlainWords, percent } from "./words.js";

const element = (id) => document.getElementById(id);

export class Viewer {
  #file = null;
  #shown = -1;
  // The place of the file when it was last shown.
  #place = 0;
  #blobUrl = "";

  constructor(grid) {
    this.grid = grid;
    this.dialog = element("viewer");
    this.row = element("viewer-row").content.firstElementChild;
    this.image = element("viewer-image");
    this.image.addEventListener("error", () => this.#fallBack());
    element("viewer-previous").addEventListener("click", () => this.#step(-1));
    element("viewer-next").addEventListener("click", () => this.#step(1));
    element("viewer-close").addEventListener("click", () => this.#close());
    this.dialog.addEventListener("keydown", (event) => this.#pressed(event));
    // A gesture on a phone closes the dialog too; the event arrives later, when another file may be shown.
    this.dialog.addEventListener("close", () => !this.dialog.open && this.#file && this.#closed());
    // A click on the backdrop has the dialog itself as its target.
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.#close());
  }

  open(file) {
    this.#show(file);
    this.dialog.showModal();
  }

  // Updates the view if the file has changed, for example because its result has arrived.
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
    const place = this.grid.placeOf(file);
    if (place >= 0) this.#place = place;
    this.dialog.dataset.state = file.state;
    element("viewer-number").textContent = file.position + 1;
    element("viewer-name").textContent = file.name;
    element("viewer-label").textContent = answerOf(file) || file.sentence || SENTENCES[file.state] || "";
    element("viewer-doubt").hidden = file.state !== "unsure";
    element("viewer-group").textContent = file.group
      ? gettext("Its labels in the group “%(group)s” have %(score)s together.", { group: groupTitle(file.group.name), score: percent(file.group.score) })
      : "";
    element("viewer-note").hidden = !file.note;
    element("viewer-note").textContent = file.note;
    element("viewer-top").replaceChildren(...file.top.slice(0, 5).map((entry) => this.#line(entry)));
    element("viewer-model").textContent = file.model;
    element("viewer-by").hidden = !file.model || !file.label;
    element("viewer-original").hidden = !file.imageUrl;
    if (file.imageUrl) element("viewer-original").href = file.imageUrl;
    element("viewer-previous").disabled = !this.#neighbour(-1);
    element("viewer-next").disabled = !this.#neighbour(1);
  }

  #line(entry) {
    const { score } = entry;
    const row = this.row.cloneNode(true);
    row.querySelector(".top-label").textContent = inPlainWords({ ...entry, labelLocal: entry.label_local });
    row.querySelector("meter").value = score;
    row.querySelector("meter").setAttribute("aria-label", gettext("confidence in %(label)s", { label: entry.label_local ?? entry.label }));
    row.querySelector(".percent").textContent = score > 0 && score < 0.005 ? `<\u00a0${percent(0.01)}` : percent(score);
    return row;
  }

  // If the file is no longer shown, the next file is at its place.
  #neighbour(change) {
    const place = this.grid.placeOf(this.#file);
    return this.grid.at(place < 0 ? this.#place + Math.min(0, change) : place + change);
  }

  #step(change) {
    const next = this.#neighbour(change);
    if (next) this.#show(next);
    // A button that has just been disabled loses the focus.
    if (document.activeElement?.disabled !== false) element("viewer-close").focus();
  }

  #pressed(event) {
    if (event.key === "Escape") {
      // By default the browser would first focus the frame that was opened, and the right frame only later.
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

  // Focuses the frame of the file that was shown last.
  #closed() {
    this.#release();
    const file = this.#file;
    this.#file = null;
    this.grid.focus(file, this.#place);
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
