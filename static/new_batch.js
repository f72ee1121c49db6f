// The start page: accepts files, creates a batch, and becomes the batch's page.  Without JavaScript a plain form is used.

import { getJson, post } from "./api.js";
import { emptyLine, othersLine } from "./additions.js";
import { Batch } from "./batch.js";
import { listenForFiles } from "./drops.js";
import { isArchive, keepImages } from "./files.js";
import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";
import { Notices } from "./notices.js";
import { localTimes } from "./times.js";

const element = (id) => document.getElementById(id);
const formNotices = new Notices(element("form-notice"));

localTimes();
prepareStart();

function prepareStart() {
  const form = element("form");
  form.classList.add("live");
  element("drop-hint").hidden = false;
  element("folder-choice").hidden = false;
  element("submit").hidden = true;
  for (const input of [element("files"), element("folder")]) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      const name = files[0]?.webkitRelativePath.split("/")[0] ?? "";
      start(form, input === element("folder") ? { ...keepImages(files), name } : { files, others: 0, name: "" });
    });
  }
  // A form that the browser restores after "Back" still has its files; choosing the same files must trigger a change.
  form.reset();
  prepareDrop(form);
  describeRecent();
}

function prepareDrop(form) {
  const place = () => (form.batch ? element("batch") : element("dropzone"));
  listenForFiles({
    take: (selection) => start(form, selection),
    refuse: (sentence) => (form.batch ? form.batch.notices : formNotices).set(form.batch ? "add" : "files", sentence),
    over: (is) => place().classList.toggle("over", is),
  });
}

// Begins a batch with a selection; adds further ones to it.
async function start(form, selection) {
  if (form.batch) return form.batch.additions.add(selection);
  if (form.starting) {
    // The batch is being created.
    await form.starting;
    return start(form, selection);
  }
  if (!selection.files.length) return formNotices.set("files", emptyLine(selection.others));
  formNotices.clear("files");
  form.starting = begin(form, selection);
  await form.starting;
  form.starting = null;
  return undefined;
}

async function begin(form, { files, others, name: folder }) {
  const max = Number(form.dataset.maxBatchImages);
  const archives = files.filter(isArchive);
  const images = files.filter((file) => !isArchive(file));
  const chosen = images.slice(0, max);
  const name = folder || (files.length === 1 && archives.length ? files[0].name.slice(0, -".zip".length) : "");
  let created;
  try {
    // First, so that no batch is created where the upload's modules cannot be loaded.
    await import("./upload.js");
    created = await post(form.dataset.batchesUrl, { name: titleOf(name), announced: chosen.length });
  } catch (error) {
    const reason = error instanceof TypeError ? gettext("Check the connection and try again.") : error.message;
    formNotices.set("files", gettext("The batch could not be created. %(reason)s", { reason }));
    return;
  }
  const batch = openBatch(created, form, titleOf(name));
  form.batch = batch;
  const left = images.length - max;
  if (left > 0) batch.notices.set("left", ngettext("A batch can have %(max)s images; %(count)s more was skipped.", "A batch can have %(max)s images; %(count)s more were skipped.", left, { max: show(max), count: show(left) }));
  if (others) batch.notices.set("others", othersLine(others));
  const upload = await batch.additions.upload();
  if (archives.length) upload.addArchives(archives, chosen.length, false, chosen.length > 0);
  if (chosen.length) upload.add(chosen, chosen.map((_file, index) => index), chosen.length, false);
  batch.follow();
}

function openBatch(created, form, title) {
  history.replaceState(null, "", created.url);
  document.title = `${title || gettext("Batch %(batch_id)s", { batch_id: created.batch_id })} · Elastic Image Classifier`;
  element("batch-title").textContent = title;
  element("batch-id").textContent = created.batch_id;
  element("csv").href = `${created.results_url}.csv${element("csv").dataset.query}`;
  element("json").href = `${created.results_url}.json`;
  element("delete").href = `${created.url}/delete`;
  element("upload").hidden = true;
  element("recent")?.remove();
  element("batch").hidden = false;
  document.querySelector("[aria-current]")?.removeAttribute("aria-current");
  scrollTo(0, 0);
  element("state").focus({ preventScroll: true });
  element("close").action = `${created.url}/close`;
  const beside = (name) => created.results_url.replace(/results$/, name);
  const urls = { cancel: beside("cancel"), times: beside("response-times"), fleet: form.dataset.fleetUrl };
  Object.assign(urls, { results: created.results_url, events: created.events_url, images: created.images_url });
  const { maxImageBytes, maxArchiveBytes } = form.dataset;
  return new Batch(urls, { imageBytes: Number(maxImageBytes), archiveBytes: Number(maxArchiveBytes) });
}

// Makes a batch's name from a folder's: removes characters that the server would refuse.
function titleOf(name) {
  return [...(name ?? "")].filter((character) => character >= " " && character !== "\u007f").join("").slice(0, 200);
}

// Shows the state of each recent batch: one after the other, because a large one takes the server some time.
async function describeRecent() {
  for (const place of document.querySelectorAll("[data-batch-url]")) {
    const batch = await getJson(place.dataset.batchUrl);
    if (!batch || element("form").batch) continue;
    place.textContent = summaryOf(batch);
  }
}

function summaryOf(batch) {
  const { accepted } = batch;
  if (!accepted) return gettext("empty");
  const images = ngettext("%(count)s image", "%(count)s images", accepted, { count: show(accepted) });
  const left = accepted - batch.answered;
  if (batch.state === "cancelled") return gettext("%(images)s, cancelled", { images });
  return left ? gettext("%(images)s, %(left)s to go", { images, left: show(left) }) : images;
}
