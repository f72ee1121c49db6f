// Where the batch stands: the state line, the counts, the progress bars.

const ANNOUNCE_EVERY_MS = 5000;
const numbers = new Intl.NumberFormat("en");
const element = (id) => document.getElementById(id);

export class Status {
  uploading = false;
  trouble = false;
  page = null;
  #expected = 0;
  #lost = 0;
  #tally = null;
  #announced = "";
  #announcedAt = 0;
  #title = document.title;

  // How many files this tab is going to upload.
  expect(count) {
    this.#expected = count;
    this.#title = document.title;
  }

  lost(count) {
    this.#lost = count;
  }

  number(value) {
    return numbers.format(value);
  }

  show(tally) {
    const accepted = this.page?.accepted ?? 0;
    const total = Math.max(this.#expected, accepted, 1);
    const uploaded = this.#expected ? Math.max(tally.uploaded, Math.min(accepted, this.#expected)) : accepted;
    const answered = Math.max(tally.answered, 0);
    setBar("uploaded-bar", uploaded, total);
    setBar("answered-bar", answered, total);
    setText("uploaded-count", this.#expected ? `${numbers.format(uploaded)} of ${numbers.format(this.#expected)}` : numbers.format(uploaded));
    setText("answered-count", numbers.format(answered));
    for (const kind of ["unsure", "failed"]) {
      setText(`${kind}-count`, numbers.format(tally[kind]));
      element(`${kind}-tally`).hidden = !tally[kind];
    }
    element("lost").hidden = !this.#lost;
    setText("lost-text", `${numbers.format(this.#lost)} ${this.#lost === 1 ? "file was" : "files were"} not uploaded.`);

    const done = !this.uploading && Boolean(this.page?.complete) && answered >= accepted;
    setText("csv-note", done ? "" : ", so far");
    const state = this.#state(accepted, answered, done);
    setText("state", state);
    document.title = done || !answered ? this.#title : `${Math.floor((100 * answered) / total)} % · ${this.#title}`;
    this.#announce(done ? state : `${state} ${numbers.format(answered)} of ${numbers.format(total)} answered.`, done);
  }

  #state(accepted, answered, done) {
    if (this.trouble) return "Connection lost, trying again…";
    if (done) return accepted === 1 ? "The image is answered" : `All ${numbers.format(accepted)} answered`;
    if (this.uploading) return "Uploading…";
    if (!accepted) return this.page && !this.#expected ? "No images yet" : "Uploading…";
    return answered ? "Classifying…" : "Waiting for the first worker…";
  }

  // To screen readers, not more often than they can say it.
  #announce(text, now) {
    if (text === this.#announced || (!now && performance.now() - this.#announcedAt < ANNOUNCE_EVERY_MS)) return;
    this.#announced = text;
    this.#announcedAt = performance.now();
    setText("announcer", text);
  }
}

function setBar(id, value, max) {
  element(id).max = max;
  element(id).value = value;
}

// Writes only what changed: a page that is polled should not be laid out again for nothing.
function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
