// The line with a batch's response times: shown once all images are answered, in the server's words.

import { getJson } from "./api.js";

export class ResponseTimes {
  #answered = 0;

  constructor(place, url) {
    this.place = place;
    this.url = url;
  }

  // answered: the number of results if these are all, else 0.
  async show(answered) {
    if (answered === this.#answered) return;
    this.#answered = answered;
    const times = answered ? await getJson(this.url) : null;
    // More images may have been added meanwhile.
    if (answered !== this.#answered) return;
    this.place.textContent = times?.sentence ?? "";
    this.place.hidden = !this.place.textContent;
  }
}
