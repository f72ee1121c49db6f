// One frame of the contact sheet: an element that shows one file, for as long as it is on the screen.

export const SENTENCES = { waiting: "waiting", uploading: "uploading…", queued: "queued" };
const OPEN = new Set(Object.keys(SENTENCES));

export class Frame {
  #shown = -1;
  #picture = "";
  #blobUrl = "";

  constructor(template, file) {
    this.file = file;
    this.element = template.cloneNode(true);
    this.button = this.#part("film");
    this.#part("number").textContent = file.position + 1;
    // What the browser cannot show leaves its frame empty.
    this.image = this.element.querySelector("img");
    this.image.addEventListener("error", () => this.#fallBack());
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
    this.image.hidden = !this.#picture;
  }

  // Off the screen: the picture's memory is given back.
  drop() {
    this.element.remove();
    this.image.removeAttribute("src");
    if (this.#blobUrl) URL.revokeObjectURL(this.#blobUrl);
  }

  // Whether there is a picture to load.
  get pending() {
    return !this.#picture && Boolean(this.file.file || this.file.imageUrl);
  }

  load() {
    if (this.file.file) {
      this.#picture = "local";
      this.image.src = this.#blobUrl = URL.createObjectURL(this.file.file);
    } else {
      this.#picture = "stored";
      this.image.src = this.file.imageUrl;
    }
    this.image.hidden = false;
  }

  // A file that has been moved, or of a kind that only the server can show.
  #fallBack() {
    if (this.#picture === "local" && this.file.imageUrl) {
      this.#picture = "stored";
      this.image.src = this.file.imageUrl;
    } else {
      this.image.hidden = true;
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
