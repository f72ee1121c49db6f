// The contact sheet: one frame for each file, in the order of their positions.

import { positionOf } from "./uploader.js";

const FRAMES_PER_TURN = 100;
const ANSWERED = new Set(["classified", "unsure", "failed"]);
const SENTENCES = { waiting: "waiting", uploading: "uploading…", queued: "queued" };

export class Sheet {
  #byKey = new Map();
  // Frames of files chosen in this tab, by position: their key is known only after their upload.
  #local = new Map();
  // Keys (of frames that the server has told of) in the order of the list.
  #order = [];
  #counts = {};

  constructor(list, template) {
    this.list = list;
    this.template = template.content.firstElementChild;
    for (const frame of list.children) {
      this.#byKey.set(frame.dataset.key, frame);
      this.#order.push(frame.dataset.key);
      this.#count(frame.dataset.state, 1);
    }
    this.#hideBroken();
  }

  // A picture that the browser cannot show leaves its frame empty.
  #hideBroken() {
    const hide = (image) => { image.hidden = true; };
    this.list.addEventListener("error", (event) => hide(event.target), true);
    for (const image of this.list.querySelectorAll("img")) {
      if (image.complete && image.src && !image.naturalWidth) hide(image);
    }
  }

  get tally() {
    const { unsure = 0, failed = 0, classified = 0, queued = 0 } = this.#counts;
    const answered = classified + unsure + failed;
    return { unsure, failed, answered, uploaded: answered + queued };
  }

  // Makes the frames of files that are about to be uploaded; lets the page breathe in between.
  async addFiles(files) {
    for (let start = 0; start < files.length; start += FRAMES_PER_TURN) {
      const fragment = document.createDocumentFragment();
      files.slice(start, start + FRAMES_PER_TURN).forEach((file, index) => {
        const frame = this.#make(start + index, file.name);
        frame.querySelector("img").src = URL.createObjectURL(file);
        this.#local.set(start + index, frame);
        fragment.append(frame);
      });
      this.list.append(fragment);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  // Sets the state of a chunk's frames that have no answer yet.
  mark(chunk, state, sentence = SENTENCES[state]) {
    for (let index = 0; index < chunk.files.length; index += 1) {
      const frame = this.#local.get(chunk.offset + index);
      if (!ANSWERED.has(frame.dataset.state)) {
        this.#setState(frame, state);
        part(frame, "label").textContent = sentence;
      }
    }
  }

  // A file is stored: remembers its key.
  stored({ key, position }) {
    this.#byKey.set(key, this.#local.get(position));
    this.mark({ offset: position, files: [key] }, "queued");
  }

  // Shows an answer.  The same result may come twice.
  show(result) {
    const frame = this.#byKey.get(result.key) ?? this.#adopt(result.key) ?? this.#insert(result);
    this.#setState(frame, result.error ? "failed" : result.unsure ? "unsure" : "classified");
    part(frame, "name").textContent = result.name;
    part(frame, "name").title = result.name;
    part(frame, "label").textContent = result.error ? result.error.sentence : result.label;
    part(frame, "doubt").hidden = !result.unsure;
    if (!result.error) {
      frame.querySelector("meter").value = result.score;
      part(frame, "percent").textContent = percent(result.score);
    }
    if (result.unsure) {
      const second = result.top_k[1];
      part(frame, "doubt").textContent = second ? `unsure; or ${second.label}, ${percent(second.score)}` : "unsure";
    }
  }

  // The frame of a file of this tab whose result is here before its upload's answer.
  #adopt(key) {
    const frame = this.#local.get(positionOf(key));
    if (frame) this.#byKey.set(key, frame);
    return frame;
  }

  #insert(result) {
    const frame = this.#make(result.position, result.name);
    const image = frame.querySelector("img");
    if (result.image_url) image.src = result.image_url;
    else image.remove();
    frame.dataset.key = result.key;
    this.#byKey.set(result.key, frame);
    const index = placeIn(this.#order, result.key);
    this.list.insertBefore(frame, this.#byKey.get(this.#order[index]) ?? null);
    this.#order.splice(index, 0, result.key);
    return frame;
  }

  #make(position, name) {
    const frame = this.template.cloneNode(true);
    part(frame, "number").textContent = position + 1;
    part(frame, "name").textContent = name;
    part(frame, "name").title = name;
    this.#count("waiting", 1);
    return frame;
  }

  #setState(frame, state) {
    this.#count(frame.dataset.state, -1);
    this.#count(state, 1);
    frame.dataset.state = state;
  }

  #count(state, change) {
    this.#counts[state] = (this.#counts[state] ?? 0) + change;
  }
}

function part(frame, name) {
  return frame.querySelector(`.${name}`);
}

function percent(score) {
  return `${Math.round(score * 100)} %`;
}

function placeIn(sorted, key) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
