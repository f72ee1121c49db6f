// The start page: accepts files, creates a batch, and becomes the batch's page.  Without JavaScript a plain form is used.

import { getJson, post } from "./api.js";
import { Batch } from "./batch.js";
import { filesFromDrop, isArchive, keepImages } from "./files.js";
import { show } from "./batch_header.js";
import { Notices } from "./notices.js";
import { localTimes } from "./times.js";
import { Upload } from "./upload.js";

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
  const highlight = (on) => element("dropzone").classList.toggle("over", on);
  addEventListener("dragover", (event) => {
    // Also outside the drop zone: a file dropped beside it must not replace the page.
    event.preventDefault();
    highlight(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? highlight(false));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    highlight(false);
    if (!form.started) start(form, await filesFromDrop(event.dataTransfer));
  });
}

async function start(form, { files, others, name: folder }) {
  if (form.started) return;
  const name = folder || (files.length === 1 && isArchive(files[0]) ? files[0].name.slice(0, -".zip".length) : "");
  if (!files.length) {
    formNotices.set("files", others ? "There are no images in this folder." : "Choose at least one image.");
    return;
  }
  formNotices.clear("files");
  form.started = true;
  let created;
  try {
    created = await post(form.dataset.batchesUrl, { name: titleOf(name) });
  } catch (error) {
    form.started = false;
    const sentence = error instanceof TypeError ? "Check the connection and try again." : error.message;
    formNotices.set("files", `The batch could not be created. ${sentence}`);
    return;
  }
  const data = form.dataset;
  const [images, imageBytes, archiveBytes] = [data.maxBatchImages, data.maxImageBytes, data.maxArchiveBytes].map(Number);
  const batch = openBatch(created, form.dataset.fleetUrl, titleOf(name));
  const { notices } = batch;
  const left = files.filter((file) => !isArchive(file)).length - images;
  if (left > 0) notices.set("left", `A batch can have ${show(images)} images; ${show(left)} more were skipped.`);
  if (others) notices.set("others", `Skipped ${show(others)} other ${others === 1 ? "file" : "files"} in the folder.`);
  const limits = { images, imageBytes, archiveBytes };
  batch.upload((model, on) => new Upload(created.images_url, files, limits, model, notices, on));
}

function openBatch(created, fleetUrl, title) {
  history.replaceState(null, "", created.url);
  document.title = `${title || `Batch ${created.batch_id}`} · Elastic Image Classifier`;
  element("batch-title").textContent = title;
  element("batch-id").textContent = created.batch_id;
  element("csv").href = `${created.results_url}.csv`;
  element("json").href = `${created.results_url}.json`;
  element("delete").href = `${created.url}/delete`;
  element("upload").hidden = true;
  element("recent")?.remove();
  element("batch").hidden = false;
  document.querySelector("[aria-current]")?.removeAttribute("aria-current");
  scrollTo(0, 0);
  element("state").focus({ preventScroll: true });
  const beside = (name) => created.results_url.replace(/results$/, name);
  const urls = { cancel: beside("cancel"), times: beside("response-times"), fleet: fleetUrl };
  return new Batch({ results: created.results_url, events: created.events_url, ...urls });
}

// Makes a batch's name from a folder's: removes characters that the server would refuse.
function titleOf(name) {
  return [...(name ?? "")].filter((character) => character >= " " && character !== "\u007f").join("").slice(0, 200);
}

// Shows the state of each recent batch: one after the other, because a large one takes the server some time.
async function describeRecent() {
  for (const place of document.querySelectorAll("[data-batch-url]")) {
    const batch = await getJson(place.dataset.batchUrl);
    if (!batch || element("form").started) continue;
    const images = `${show(batch.accepted)} ${batch.accepted === 1 ? "image" : "images"}`;
    const left = batch.accepted - batch.answered;
    const state = batch.state === "cancelled" ? ", cancelled" : left ? `, ${show(left)} to go` : "";
    place.textContent = batch.accepted ? images + state : "empty";
  }
}
