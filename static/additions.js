// Photos added to a batch that exists: the rest of an interrupted upload, or more.  The server's list decides which are
// here already, so that an upload can be resumed in any tab and on any machine.

import { post } from "./api.js";
import { isArchive, keepImages, pathOf } from "./files.js";
import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";

const element = (id) => document.getElementById(id);

export class Additions {
  // Selections are added one after the other, so that each is planned with the others announced.
  #last = Promise.resolve();

  // limits: {imageBytes, archiveBytes}
  constructor(batch, imagesUrl, limits) {
    this.batch = batch;
    this.imagesUrl = imagesUrl;
    this.limits = limits;
    this.#prepareButtons();
  }

  // Adds a selection {files, others}; resolves when its upload has begun.
  add(selection) {
    this.#last = this.#last.then(() => this.#add(selection));
    return this.#last;
  }

  async #add({ files, others }) {
    const { batch } = this;
    for (const about of ["known", "full", "others", "add"]) batch.notices.clear(about);
    if (batch.header.ended) return batch.notices.set("add", gettext("This batch takes no more photos; begin a new batch."));
    if (!files.length) return batch.notices.set("add", emptyLine(others));
    const fresh = files.filter((file) => !isArchive(file) && !batch.has(file));
    // The server opens archives: what is in them is not known here.
    const archives = files.filter((file) => isArchive(file) && !batch.has(file));
    let plan = { positions: [], known: 0, full: 0, announced: 0 };
    let upload = null;
    try {
      upload = await this.upload();
      if (fresh.length) plan = await this.#plan(fresh);
    } catch (error) {
      const reason = error instanceof TypeError ? gettext("Check the connection and try again.") : error.message;
      return batch.notices.set("add", gettext("The photos could not be added. %(reason)s", { reason }));
    }
    this.#report(files.length - fresh.length - archives.length + plan.known, plan.full, others);
    const sent = fresh.map((file, index) => ({ file, position: plan.positions[index] })).filter(({ position }) => position !== null);
    if (!sent.length && !archives.length) return undefined;
    const { accepted = 0, announced = 0 } = batch.header.page ?? {};
    const after = Math.max(plan.announced, accepted, announced, upload.expected);
    if (archives.length) upload.addArchives(archives, after, true, sent.length > 0);
    if (sent.length) upload.add(sent.map(({ file }) => file), sent.map(({ position }) => position), plan.announced);
    return batch.follow();
  }

  // The upload of this tab; its modules are loaded when they are needed, because most visits of a batch need none.
  async upload() {
    const { Upload } = await import("./upload.js");
    return this.batch.upload((model, on) => new Upload(this.imagesUrl, this.limits, model, this.batch.notices, on));
  }

  #plan(files) {
    const named = files.map((file) => ({ name: pathOf(file), size_bytes: file.size }));
    return post(this.imagesUrl.replace(/images$/, "plan"), { files: named, additional: this.batch.uploading });
  }

  #report(known, full, others) {
    const { notices } = this.batch;
    if (known) notices.set("known", ngettext("%(count)s photo is in this batch already and was skipped.", "%(count)s photos are in this batch already and were skipped.", known, { count: show(known) }));
    if (full) notices.set("full", ngettext("The batch is full: %(count)s photo was left out.", "The batch is full: %(count)s photos were left out.", full, { count: show(full) }));
    if (others) notices.set("others", othersLine(others));
  }

  #prepareButtons() {
    const files = element("more-files");
    const folder = element("more-folder");
    for (const [id, input] of [["add", files], ["rest-files", files], ["rest-folder", folder]]) {
      element(id).hidden = false;
      element(id).addEventListener("click", () => input.click());
    }
    for (const input of [files, folder]) {
      input.addEventListener("change", () => {
        const chosen = [...input.files];
        // The same files may be chosen again.
        input.value = "";
        if (chosen.length) this.add(input === folder ? keepImages(chosen) : { files: chosen, others: 0 });
      });
    }
    element("close").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#close();
    });
  }

  async #close() {
    const { batch } = this;
    try {
      batch.header.page = await post(this.imagesUrl.replace(/images$/, "close"));
      batch.notices.clear("close");
      batch.follow();
    } catch {
      batch.notices.set("close", gettext("The batch could not be closed. Check the connection and try again."));
    }
  }
}

export function emptyLine(others) {
  return others ? gettext("There are no images in this folder.") : gettext("Choose at least one image.");
}

export function othersLine(others) {
  return ngettext("Skipped %(count)s other file in the folder.", "Skipped %(count)s other files in the folder.", others, { count: show(others) });
}
