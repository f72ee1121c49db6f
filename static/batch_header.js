// The batch's state line, counts and progress bars.

import { duration, show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";
import { formatBytes } from "./sizes.js";
import { percent } from "./words.js";

const ANNOUNCE_EVERY_MS = 5000;
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
    setText("uploaded-count", expected > uploaded ? gettext("%(count)s of %(total)s", { count: show(uploaded), total: show(expected) }) : show(uploaded));
    setText("answered-count", show(tally.answered));
    this.#showFilters(tally, total);
    element("lost").hidden = uploading || !lost;
    setText("lost-text", ngettext("%(count)s file was not uploaded.", "%(count)s files were not uploaded.", lost, { count: show(lost) }));
    element("cancel").hidden = done || this.#cancelled || this.deleted || !this.#mayChange;
    element("delete").hidden = uploading || this.deleted || !this.#mayChange;
    setText("transfer", uploading ? pace(transfer) : "");

    element("add").hidden = this.#cancelled || this.deleted;
    const missing = this.#showMissing(uploaded, uploading);
    const { word, line } = this.#state({ accepted, tally, uploading, done, missing });
    element("batch").dataset.state = word;
    setText("state", line);
    for (const note of document.querySelectorAll(".so-far")) note.hidden = done;
    document.title = done || !tally.answered ? this.#title : `${percent(Math.floor((100 * tally.answered) / total) / 100)} · ${this.#title}`;
    this.#announce(done ? line : `${line} ${ngettext("%(count)s of %(total)s answered.", "%(count)s of %(total)s answered.", total, { count: show(tally.answered), total: show(total) })}`, done);
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
    if (this.deleted) return { word: "deleted", line: gettext("This batch has been deleted") };
    if (this.#upload?.offline) return { word: "trouble", line: gettext("No connection; the upload goes on as soon as it is back") };
    if (this.trouble) return { word: "trouble", line: gettext("Connection lost, trying again…") };
    if (this.#cancelled) return { word: "cancelled", line: this.#cancelledLine(tally) };
    if (done) return { word: "done", line: doneLine(accepted, tally.failed) };
    const waiting = this.#waiting();
    if (!tally.classified && !tally.unsure && accepted && waiting) return waiting;
    if (uploading) return { word: "uploading", line: tally.answered ? gettext("Uploading and classifying…") : gettext("Uploading…") };
    if (missing && accepted && tally.answered >= accepted) {
      const { announced } = this.page;
      const values = { count: show(announced - missing), total: show(announced) };
      return { word: "incomplete", line: ngettext("%(count)s of %(total)s arrived", "%(count)s of %(total)s arrived", announced, values) };
    }
    if (!accepted) return { word: "queued", line: this.page && !this.#upload ? gettext("No images yet") : gettext("Uploading…") };
    if (tally.answered) return { word: "classifying", line: gettext("Classifying…") };
    return { word: "queued", line: gettext("Queued, waiting for a worker…") };
  }

  #waiting() {
    const { booting, running, expected_boot_seconds: boot } = this.#fleet;
    if (!booting || running) return null;
    const left = Math.ceil(boot - (performance.now() - this.#bootingSince) / 1000);
    const rounded = left > 20 ? Math.ceil(left / 5) * 5 : left;
    const line = left > 0
      ? gettext("Warming up: starting workers, about %(seconds)s s", { seconds: show(rounded) })
      : gettext("Warming up: starting workers, a moment longer");
    return { word: "warming", line };
  }

  #cancelledLine(tally) {
    const count = tally.classified + tally.unsure;
    return ngettext("Cancelled; %(count)s classified", "Cancelled; %(count)s classified", count, { count: show(count) });
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
  const bytes = formatBytes(transfer.sentBytes);
  const sent = transfer.open ? bytes : gettext("%(count)s of %(total)s", { count: bytes, total: formatBytes(transfer.totalBytes) });
  if (!speed) return sent;
  const values = { sent, speed: formatBytes(speed), left: left === null ? "" : timeLeft(left) };
  return left === null ? gettext("%(sent)s, %(speed)s/s", values) : gettext("%(sent)s, %(speed)s/s, %(left)s left", values);
}

function doneLine(accepted, failed) {
  const count = show(accepted);
  if (failed === accepted) {
    return accepted === 1 ? gettext("The image could not be classified") : ngettext("None of %(count)s could be classified", "None of %(count)s could be classified", accepted, { count });
  }
  if (failed) return ngettext("All %(count)s answered, %(failed)s failed", "All %(count)s answered, %(failed)s failed", failed, { count, failed: show(failed) });
  return accepted === 1 ? gettext("The image is answered") : ngettext("All %(count)s answered", "All %(count)s answered", accepted, { count });
}

function missingLine(uploaded, absent, announced) {
  const values = { count: show(uploaded), total: show(announced), missing: show(absent) };
  return ngettext(
    "%(count)s of %(total)s photos arrived; %(missing)s is missing: choose or drop the same folder or files again to send the rest, or close the batch.",
    "%(count)s of %(total)s photos arrived; %(missing)s are missing: choose or drop the same folder or files again to send the rest, or close the batch.",
    absent,
    values,
  );
}

function absentLine(absent, announced) {
  const values = { missing: show(absent), total: show(announced) };
  return ngettext(
    "%(missing)s of %(total)s announced photos never arrived: choose or drop the same folder or files again to send it.",
    "%(missing)s of %(total)s announced photos never arrived: choose or drop the same folder or files again to send them.",
    absent,
    values,
  );
}

// Never zero; above a minute rounded up.
function timeLeft(seconds) {
  return seconds < 60 ? duration(Math.max(1, Math.round(seconds))) : gettext("%(number)s\u00a0min", { number: show(Math.ceil(seconds / 60)) });
}

function setBar(id, value, max) {
  element(id).max = max;
  element(id).value = value;
}

// Writes only changed text, to avoid a new layout of the page.
function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
