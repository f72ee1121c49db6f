// Notices about several things in one place: each stays until its reason is over.

export class Notices {
  #sentences = new Map();

  constructor(place) {
    this.place = place;
  }

  // Shows a sentence about something, instead of an earlier one about the same.
  set(about, sentence) {
    this.#sentences.set(about, sentence);
    this.#show();
  }

  clear(about) {
    this.#sentences.delete(about);
    this.#show();
  }

  #show() {
    this.place.textContent = [...this.#sentences.values()].join(" ");
    this.place.hidden = !this.#sentences.size;
  }
}
