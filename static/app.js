// Makes the pages live: takes files, uploads them, shows results as they arrive.

import { filesFromDrop, keepImages } from "./files.js";
import { Poller } from "./poller.js";
import { Sheet } from "./sheet.js";
import { Status } from "./status.js";
import { Uploader } from "./uploader.js";

const element = (id) => document.getElementById(id);
const status = new Status();
const sheet = new Sheet(element("sheet"), element("frame"));

element("filter").addEventListener("change", (event) => {
  element("sheet").dataset.filter = event.target.value;
});

if (element("batch").dataset.resultsUrl) {
  follow(element("batch").dataset.resultsUrl, null);
} else {
  prepareForm();
}

// --- the upload page ---------------------------------------------------------------------------

function prepareForm() {
  const form = element("form");
  form.classList.add("live");
  element("drop-hint").hidden = false;
  element("folder-choice").hidden = false;
  element("submit").hidden = true;

  for (const input of [element("files"), element("folder")]) {
    input.addEventListener("change", () => {
      const chosen = input === element("folder") ? keepImages([...input.files]) : { files: [...input.files], others: 0 };
      start(form, chosen);
    });
  }
  // A form that the browser brings back after "Back" still has its files chosen; choosing anew must count.
  form.reset();
  const highlight = (on) => element("dropzone").classList.toggle("over", on);
  addEventListener("dragover", (event) => {
    // Also outside of the drop zone: a file that misses it must not replace the page.
    event.preventDefault();
    highlight(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? highlight(false));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    highlight(false);
    start(form, await filesFromDrop(event.dataTransfer));
  });
}

async function start(form, { files, others }) {
  if (form.started) return;
  if (!files.length) {
    showNotice("form-notice", others ? "There are no images in this folder." : "Choose at least one image.");
    return;
  }
  form.started = true;
  let batch;
  try {
    const response = await fetch(form.dataset.batchesUrl, { method: "POST" });
    if (!response.ok) throw new Error(response.statusText);
    batch = await response.json();
  } catch {
    form.started = false;
    showNotice("form-notice", "The batch could not be started. Is the connection up? Please try again.");
    return;
  }
  const max = Number(form.dataset.maxBatchImages);
  const left = Math.max(0, files.length - max);
  if (left) {
    showNotice("notice", `A batch can have ${status.number(max)} images; ${status.number(left)} more were left out.`);
  } else if (others) {
    showNotice("notice", `Left out: ${status.number(others)} other files in the folder.`);
  }
  openBatch(batch);
  await upload(batch, files.slice(0, max), Number(form.dataset.maxImageBytes));
}

function openBatch(batch) {
  history.replaceState(null, "", batch.url);
  document.title = `Batch ${batch.batch_id} · Elastic Image Classifier`;
  element("batch-id").textContent = batch.batch_id;
  element("csv").href = `${batch.results_url}.csv`;
  element("upload").hidden = true;
  element("batch").hidden = false;
  element("another").hidden = false;
  element("state").focus({ preventScroll: true });
}

// --- a batch -----------------------------------------------------------------------------------

async function upload(batch, files, maxImageBytes) {
  status.expect(files.length);
  status.show(sheet.tally);
  const failed = [];
  const uploader = new Uploader(batch.images_url, maxImageBytes, {
    started: (chunk) => sheet.mark(chunk, "uploading"),
    waiting: (chunk) => sheet.mark(chunk, "waiting"),
    stored: (file) => sheet.stored(file),
    failed: (chunk, sentence, again) => {
      sheet.mark(chunk, "lost", sentence);
      if (again) failed.push(chunk);
    },
    changed: () => {
      status.uploading = uploader.busy;
      const count = failed.reduce((sum, chunk) => sum + chunk.files.length, 0);
      status.lost(uploader.busy ? 0 : count);
      status.show(sheet.tally);
      if (!uploader.busy) poller.poke();
    },
  });
  addEventListener("beforeunload", (event) => {
    if (uploader.busy) event.preventDefault();
  });
  element("retry").addEventListener("click", () => uploader.add(failed.splice(0)));

  status.uploading = true;
  const poller = follow(batch.results_url, uploader);
  await sheet.addFiles(files);
  uploader.addFiles(files);
}

function follow(resultsUrl, uploader) {
  element("pager")?.remove();
  element("filter").hidden = false;
  const poller = new Poller(resultsUrl, {
    page: (page) => {
      for (const result of page.results) sheet.show(result);
      status.page = page;
      status.trouble = false;
      status.show(sheet.tally);
    },
    trouble: () => {
      status.trouble = true;
      status.show(sheet.tally);
    },
    finished: (page) => page.complete && !uploader?.busy,
    missing: (page) => page.complete && sheet.tally.answered < page.answered,
  });
  poller.run();
  return poller;
}

function showNotice(id, text) {
  element(id).textContent = text;
  element(id).hidden = false;
}
