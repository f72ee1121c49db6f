// One frame of the contact sheet: an element that shows one file, for as long as it is on the screen.

export const SENTENCES = { waiting: "waiting", uploading: "uploading…", queued: "queued" };
const OPEN = new Set(Object.keys(SENTENCES));
// As wide as a frame becomes, on a screen with two dots for each pixel.
const PICTURE_PX = 360;

export class Frame {
  #shown = -1;
  // Where the picture has been looked for, and whether it was found.
  #tried = { local: false, stored: false };
  #found = false;
  #dropped = false;

  constructor(template, file) {
    this.file = file;
    this.element = template.cloneNode(true);
    this.button = this.#part("film");
    this.#part("number").textContent = file.position + 1;
    // What the browser cannot show leaves its frame empty.
    this.image = this.element.querySelector("img");
    this.image.hidden = true;
    this.image.addEventListener("error", () => { this.image.hidden = true; });
  }

  // Shows what has changed since the last time; `place` is where the file stands among `total`.
  show(place, total) {
    this.element.setAttribute("aria-posinset", place);
    this.element.setAttribute("aria-setsize", total);
    const { file } = this;
    if (this.#shown === file.version) return;
    this.#shown = file.version;
    this.element.dataset.state = file.state;
    this.element.dataset.key = file.key;
    this.#text("name", file.name);
    this.#part("name").title = file.name;
    const sentence = file.label || file.sentence || SENTENCES[file.state] || "";
    this.#text("label", sentence);
    this.#part("label").title = sentence;
    this.#part("sent").value = file.sent;
    const scored = file.score !== null && !OPEN.has(file.state);
    this.element.querySelector("meter").value = scored ? file.score : 0;
    this.#text("percent", scored ? percent(file.score) : "");
    this.#text("doubt", file.state === "unsure" ? doubt(file.top) : "");
  }

  // Off the screen: the picture's memory is given back.
  drop() {
    this.#dropped = true;
    this.element.remove();
    this.image.removeAttribute("src");
    const canvas = this.element.querySelector("canvas");
    if (canvas) canvas.width = canvas.height = 0;
  }

  // Whether there is a picture to load.
  get pending() {
    const { file } = this;
    if (this.#found || this.#dropped) return false;
    return Boolean((file.file && !this.#tried.local) || (file.imageUrl && !this.#tried.stored));
  }

  // Loads it: from the disk or, where that fails (moved, or a kind that only the server can show), from the server.
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

  // Decoded beside the main thread, and no larger than is shown.  (An image with an object URL would do, too, but for each
  // of these the browser's processes confer while the page stands still.)
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

export function percent(score) {
  return `${Math.round(score * 100)}\u00a0%`;
}

function doubt(top) {
  return top.length > 1 ? `unsure; or ${top[1].label}, ${percent(top[1].score)}` : "unsure";
}
