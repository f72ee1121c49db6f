// The state of each file of a batch, and which files are shown in which order.  This module does not touch the page, so
// that the cost of counting, filtering and sorting does not depend on the number of files on the screen.

import { language } from "./messages.js";
import { answerOf, labelOf } from "./words.js";

export const ANSWERED = new Set(["classified", "unsure", "failed"]);
const collator = new Intl.Collator(language, { numeric: true });
const byPosition = (a, b) => a.position - b.position || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
// Files without a result come last in every order.
const ORDERS = {
  position: byPosition,
  name: (a, b) => collator.compare(a.name, b.name) || byPosition(a, b),
  label: (a, b) => !a.label - !b.label || collator.compare(labelOf(a), labelOf(b)) || byPosition(a, b),
  sure: (a, b) => (b.score ?? -1) - (a.score ?? -1) || byPosition(a, b),
  doubtful: (a, b) => (a.score ?? 2) - (b.score ?? 2) || byPosition(a, b),
};

export class Model {
  #byKey = new Map();
  // Files chosen in this tab, by position: their key is known only after their upload.
  #local = new Map();
  #all = [];
  #counts = {};
  #view = { filter: "", sort: "position", search: "" };
  #visible = [];
  #ordered = true;
  #stale = false;
  cancelled = false;

  get tally() {
    const { unsure = 0, failed = 0, classified = 0, queued = 0, lost = 0 } = this.#counts;
    const answered = classified + unsure + failed;
    return { classified, unsure, failed, lost, answered, uploaded: answered + queued, all: this.#all.length };
  }

  // The files to show, in their order.
  get visible() {
    if (!this.#stale) return this.#visible;
    if (!this.#ordered) this.#all.sort(byPosition);
    this.#ordered = true;
    const { filter, sort, search } = this.#view;
    const words = folded(search).split(/\s+/).filter(Boolean);
    let found = this.#all;
    if (filter) found = found.filter((file) => matches(file, filter));
    if (words.length) found = found.filter((file) => words.every((word) => textOf(file).includes(word)));
    this.#visible = sort === "position" ? found.slice() : [...found].sort(ORDERS[sort]);
    this.#stale = false;
    return this.#visible;
  }

  // Whether a change of a file may change which files are shown, or their order.
  get selective() {
    const { filter, sort, search } = this.#view;
    return Boolean(filter || search || sort !== "position");
  }

  setView(change) {
    Object.assign(this.#view, change);
    this.#stale = true;
  }

  // Files that are about to be uploaded, each to its position.
  addFiles(files, positions = files.map((_file, index) => index), nameOf = (file) => file.name) {
    files.forEach((file, index) => {
      const position = positions[index];
      this.#local.set(position, this.#add({ position, name: nameOf(file), file, state: "waiting" }));
    });
  }

  // A file that the server has listed.
  addKnown(fields) {
    this.#byKey.set(fields.key, this.#add(fields));
  }

  // Sets the state of files without a result; `sentence` is the reason.
  mark(offset, count, state, sentence = "") {
    for (let position = offset; position < offset + count; position += 1) {
      const file = this.#local.get(position);
      if (!ANSWERED.has(file.state)) this.#change(file, { state, sentence, sent: 0 });
    }
  }

  // Updates how much of each file of a chunk has been sent: the files are consecutive in the request's body.
  sent(offset, sizes, bytes) {
    let left = bytes;
    sizes.forEach((size, index) => {
      const file = this.#local.get(offset + index);
      file.sent = size ? Math.min(1, Math.max(0, left / size)) : 1;
      file.version += 1;
      left -= size;
    });
  }

  // A file of this tab, or an image of its archive.
  stored(key, position, name = "") {
    const file = this.#local.get(position);
    if (!file) {
      // Its result may have arrived before.
      if (!this.#byKey.has(key)) this.addKnown({ key, position, name, state: "queued" });
      return;
    }
    file.key = key;
    this.#byKey.set(key, file);
    this.mark(position, 1, "queued");
  }

  // Adds a result.  The same result may arrive twice.
  answer(result) {
    if (result.error?.code === "cancelled") this.cancelled = true;
    const fields = {
      key: result.key,
      name: result.name,
      state: result.error ? "failed" : result.unsure ? "unsure" : "classified",
      label: result.label ?? "",
      labelLocal: result.label_local ?? "",
      score: result.score,
      top: result.top_k,
      group: result.group,
      sentence: result.error?.sentence ?? "",
      note: result.note ?? "",
      model: result.model,
      imageUrl: result.image_url,
    };
    const known = this.#byKey.get(result.key) ?? this.#adopt(result);
    if (known) this.#change(known, fields);
    else this.addKnown({ ...fields, position: result.position });
  }

  // The file of this tab whose result arrives before the response to its upload.
  #adopt({ key, position }) {
    const file = this.#local.get(position);
    if (!file || file.key) return null;
    this.#byKey.set(key, file);
    return file;
  }

  #add(fields) {
    const file = { key: "", label: "", labelLocal: "", score: null, top: [], group: null, sentence: "", note: "" };
    Object.assign(file, { model: "", imageUrl: null, file: null, sent: 0, version: 0, text: "" }, fields);
    const last = this.#all.at(-1);
    if (last && byPosition(last, file) > 0) this.#ordered = false;
    this.#all.push(file);
    this.#count(file.state, 1);
    this.#stale = true;
    return file;
  }

  #change(file, fields) {
    this.#count(file.state, -1);
    Object.assign(file, fields);
    this.#count(file.state, 1);
    file.version += 1;
    file.text = "";
    if (this.selective) this.#stale = true;
  }

  #count(state, change) {
    this.#counts[state] = (this.#counts[state] ?? 0) + change;
  }
}

function matches(file, filter) {
  if (filter === "failed") return file.state === "failed" || file.state === "lost";
  if (filter === "open") return !ANSWERED.has(file.state) && file.state !== "lost";
  return file.state === filter;
}

function textOf(file) {
  return (file.text ||= folded(`${file.name}\n${file.label}\n${answerOf(file)}`));
}

// Without the differences of case, and of accents that are characters of their own (NFD, as macOS stores names) or not.
// Upper case, because lower case depends on the position in the word: of Σ there are two.
function folded(text) {
  return text.normalize("NFC").toUpperCase().normalize("NFC");
}
