// One frame of the image grid: the element that shows one file while it is on the screen.

import { gettext } from "./messages.js";
import { answerOf, doubtOf, percent } from "./words.js";

export const SENTENCES = { waiting: gettext("waiting"), uploading: gettext("uploading…"), queued: gettext("queued") };
const OPEN = new Set(Object.keys(SENTENCES));
// The largest width of a frame, on a screen with two device pixels per CSS pixel.
const PICTURE_PX = 360;

export class Frame {
  #shown = -1;
  // From which sources the picture has been requested, and whether it was found.
  #tried = { local: false, stored: false };
  #found = false;
  #dropped = false;

  constructor(template, file) {
    this.file = file;
    this.element = template.cloneNode(true);
    this.button = this.#part("film");
    this.#part("number").textContent = file.position + 1;
    // A format that the browser cannot show leaves the frame empty.
    this.image = this.element.querySelector("img");
    this.image.hidden = true;
    this.image.addEventListener("error", () => { this.image.hidden = true; });
  }

  // Updates the element if the file has changed; `place` is the file's position among `total`.
  show(place, total) {
    this.element.setAttribute("aria-posinset", place);
    this.element.setAttribute("aria-setsize", total);
    const { file } = this;
    if (this.#shown === file.version) return;
    this.#shown = file.version;
    this.element.dataset.state = file.state;
    this.element.dataset.key = file.key;
    // Two parts: where there is little room, the folders are shortened before the file's own name.
    const folderEnd = file.name.lastIndexOf("/") + 1;
    this.#text("folder", file.name.slice(0, folderEnd));
    this.#text("file", file.name.slice(folderEnd));
    this.#part("name").title = file.name;
    if (file.group) this.element.dataset.group = file.group.name;
    else delete this.element.dataset.group;
    const sentence = answerOf(file) || file.sentence || SENTENCES[file.state] || "";
    this.#text("label", sentence);
    this.#part("label").title = sentence;
    this.#part("sent").value = file.sent;
    const scored = file.score !== null && !OPEN.has(file.state);
    this.element.querySelector("meter").value = scored ? file.score : 0;
    this.#text("percent", scored ? percent(file.score) : "");
    this.#text("doubt", file.state === "unsure" ? doubtOf(file) : "");
    this.#text("note", file.note);
    this.#part("note").title = file.note;
  }

  // Removes the frame from the page and frees the picture's memory.
  drop() {
    this.#dropped = true;
    this.element.remove();
    this.image.removeAttribute("src");
    const canvas = this.element.querySelector("canvas");
    if (canvas) canvas.width = canvas.height = 0;
  }

  // Whether a picture can be loaded.
  get pending() {
    const { file } = this;
    if (this.#found || this.#dropped) return false;
    return Boolean((file.file && !this.#tried.local) || (file.imageUrl && !this.#tried.stored));
  }

  // Loads the picture from the disk or, if that fails (the file was moved, or the browser cannot decode it), from the
  // server.
  async load() {
    if (this.file.file && !this.#tried.local) {
      this.#tried.local = true;
      this.#found = await this.#draw();
    } else {
      this.#tried.stored = true;
      this.#found = true;
      this.image.src = this.file.imageUrl;
      this.image.hidden = false;
    }
  }

  // Decodes off the main thread, no larger than needed.  (An image with an object URL would also work, but each one blocks
  // the page while the browser's processes communicate.)
  async #draw() {
    try {
      const bitmap = await createImageBitmap(this.file.file, { resizeWidth: PICTURE_PX, resizeQuality: "medium" });
      if (this.#dropped) {
        bitmap.close();
        return true;
      }
      const canvas = document.createElement("canvas");
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
      this.image.before(canvas);
      return true;
    } catch {
      return false;
    }
  }

  #part(name) {
    return this.element.querySelector(`.${name}`);
  }

  #text(name, text) {
    const part = this.#part(name);
    if (part.textContent !== text) part.textContent = text;
  }
}
