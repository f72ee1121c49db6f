// The batch's state line, counts and progress bars.

import { formatBytes } from "./sizes.js";

const ANNOUNCE_EVERY_MS = 5000;
const numbers = new Intl.NumberFormat("en");
const element = (id) => document.getElementById(id);

export class BatchHeader {
  trouble = false;
  deleted = false;
  // The server's latest counts, and the fleet's.
  page = null;
  // Whether all images are answered, and no more are about to be uploaded.
  done = false;
  #fleet = {};
  #bootingSince = 0;
  #upload = null;
  #announced = "";
  #announcedAt = -Infinity;
  #title = document.title;
  // Whether this person may cancel and delete the batch.
  #mayChange = "mayChange" in element("batch").dataset;

  constructor(model) {
    this.model = model;
  }

  // The upload of this tab, if there is one.
  set upload(upload) {
    this.#upload = upload;
    this.#title = document.title;
  }

  set fleet(hint) {
    if (hint.booting && !this.#fleet.booting) this.#bootingSince = performance.now();
    this.#fleet = hint;
  }

  // Whether the batch takes no more photos.
  get ended() {
    return this.#cancelled || this.deleted;
  }

  show() {
    const { busy: uploading = false, lost = 0, count = 0, transfer } = this.#upload ?? {};
    const tally = this.model.tally;
    const accepted = this.page?.accepted ?? 0;
    const announced = this.page?.missing ? this.page.announced : 0;
    const expected = Math.max(this.#upload?.expected ?? 0, announced);
    const total = Math.max(expected, accepted, 1);
    const uploaded = expected ? Math.max(tally.uploaded, Math.min(accepted, expected)) : accepted;
    // The server's counts may be older than the response to the last upload.
    const done = !uploading && Boolean(this.page?.complete) && tally.answered >= Math.max(accepted, tally.uploaded);
    this.done = done;
    const byBytes = uploading && !transfer.open;
    const before = Math.max(0, total - count);
    const sent = byBytes ? before + (count * transfer.sentBytes) / Math.max(1, transfer.totalBytes) : uploaded;
    setBar("uploaded-bar", sent, total);
    setBar("answered-bar", tally.answered, total);
    setText("uploaded-count", expected > uploaded ? `${show(uploaded)} of ${show(expected)}` : show(uploaded));
    setText("answered-count", show(tally.answered));
    this.#showFilters(tally, total);
    element("lost").hidden = uploading || !lost;
    setText("lost-text", `${show(lost)} ${lost === 1 ? "file was" : "files were"} not uploaded.`);
    element("cancel").hidden = done || this.#cancelled || this.deleted || !this.#mayChange;
    element("delete").hidden = uploading || this.deleted || !this.#mayChange;
    setText("transfer", uploading ? pace(transfer) : "");

    element("add").hidden = this.#cancelled || this.deleted;
    const missing = this.#showMissing(uploaded, uploading);
    const { word, line } = this.#state({ accepted, tally, uploading, done, missing });
    element("batch").dataset.state = word;
    setText("state", line);
    for (const note of document.querySelectorAll(".so-far")) note.hidden = done;
    document.title = done || !tally.answered ? this.#title : `${Math.floor((100 * tally.answered) / total)} % · ${this.#title}`;
    this.#announce(done ? line : `${line} ${show(tally.answered)} of ${show(total)} answered.`, done);
  }

  get #cancelled() {
    return this.page?.state === "cancelled" || this.model.cancelled;
  }

  // Shows which announced images have not come, unless this tab is sending them; returns how many are expected.
  #showMissing(uploaded, uploading) {
    const { announced = 0, missing = 0 } = this.page ?? {};
    const absent = uploading || this.#cancelled || this.deleted || !this.page ? 0 : Math.max(0, announced - uploaded);
    element("missing").hidden = !absent;
    element("close").hidden = !missing;
    if (absent) setText("missing-text", missing ? missingLine(uploaded, absent, announced) : absentLine(absent, announced));
    return missing && absent;
  }

  #state({ accepted, tally, uploading, done, missing }) {
    if (this.deleted) return { word: "deleted", line: "This batch has been deleted" };
    if (this.#upload?.offline) return { word: "trouble", line: "No connection; the upload goes on as soon as it is back" };
    if (this.trouble) return { word: "trouble", line: "Connection lost, trying again…" };
    if (this.#cancelled) return { word: "cancelled", line: this.#cancelledLine(tally) };
    if (done) return { word: "done", line: doneLine(accepted, tally.failed) };
    const waiting = this.#waiting();
    if (!tally.classified && !tally.unsure && accepted && waiting) return waiting;
    if (uploading) return { word: "uploading", line: tally.answered ? "Uploading and classifying…" : "Uploading…" };
    if (missing && accepted && tally.answered >= accepted) {
      return { word: "incomplete", line: `${show(this.page.announced - missing)} of ${show(this.page.announced)} arrived` };
    }
    if (!accepted) return { word: "queued", line: this.page && !this.#upload ? "No images yet" : "Uploading…" };
    if (tally.answered) return { word: "classifying", line: "Classifying…" };
    return { word: "queued", line: "Queued, waiting for a worker…" };
  }

  #waiting() {
    const { booting, running, expected_boot_seconds: boot } = this.#fleet;
    if (!booting || running) return null;
    const left = Math.ceil(boot - (performance.now() - this.#bootingSince) / 1000);
    const rounded = left > 20 ? Math.ceil(left / 5) * 5 : left;
    const wait = left > 0 ? `about ${rounded} s` : "a moment longer";
    return { word: "warming", line: `Warming up: starting workers, ${wait}` };
  }

  #cancelledLine(tally) {
    return `Cancelled; ${show(tally.classified + tally.unsure)} classified`;
  }

  #showFilters(tally, total) {
    const failed = tally.failed + tally.lost;
    // The server may have files of which this tab receives nothing before their results.
    const all = Math.max(tally.all, this.page?.accepted ?? 0);
    const counts = { "": all, classified: tally.classified, unsure: tally.unsure, failed };
    const open = all - tally.answered - tally.lost;
    for (const [filter, count] of Object.entries({ ...counts, open })) {
      const chip = element(`filter-${filter || "all"}`);
      setText(`${chip.id}-count`, show(count));
      // The chosen filter stays visible even if no image matches it.
      chip.closest("label").hidden = !count && filter !== "" && !chip.checked;
    }
    element("tools").hidden = total < 2 && tally.all < 2;
  }

  // Announces to screen readers, no more often than they can read it out.
  #announce(text, now) {
    if (text === this.#announced || (!now && performance.now() - this.#announcedAt < ANNOUNCE_EVERY_MS)) return;
    this.#announced = text;
    this.#announcedAt = performance.now();
    setText("announcer", text);
  }
}

function pace(transfer) {
  const now = performance.now();
  const speed = transfer.speed(now);
  const left = transfer.remainingSeconds(now);
  const sent = formatBytes(transfer.sentBytes) + (transfer.open ? "" : ` of ${formatBytes(transfer.totalBytes)}`);
  return speed ? `${sent}, ${formatBytes(speed)}/s${left === null ? "" : `, ${duration(left)} left`}` : sent;
}

function doneLine(accepted, failed) {
  if (failed === accepted) return accepted === 1 ? "The image could not be classified" : `None of ${show(accepted)} could be classified`;
  if (failed) return `All ${show(accepted)} answered, ${show(failed)} failed`;
  return accepted === 1 ? "The image is answered" : `All ${show(accepted)} answered`;
}

function missingLine(uploaded, absent, announced) {
  const are = absent === 1 ? "is" : "are";
  return `${show(uploaded)} of ${show(announced)} photos arrived; ${show(absent)} ${are} missing: choose or drop the same folder or files again to send the rest, or close the batch.`;
}

function absentLine(absent, announced) {
  const them = absent === 1 ? "it" : "them";
  return `${show(absent)} of ${show(announced)} announced photos never arrived: choose or drop the same folder or files again to send ${them}.`;
}

export function show(value) {
  return numbers.format(value);
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.ceil(seconds / 60)} min`;
}

function setBar(id, value, max) {
  element(id).max = max;
  element(id).value = value;
}

// Writes only changed text, to avoid a new layout of the page.
function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
