// Keeps a batch's page up to date.  Without JavaScript the page reloads until all images are answered.

import { Batch } from "./batch.js";
import { listenForFiles } from "./drops.js";

const place = document.getElementById("batch");
const { results, events, cancel, times, fleet, images, maxImageBytes, maxArchiveBytes } = place.dataset;

const limits = { imageBytes: Number(maxImageBytes), archiveBytes: Number(maxArchiveBytes) };
const batch = new Batch({ results, events, cancel, times, fleet, images }, limits);
batch.adopt();
listenForFiles({
  take: (selection) => batch.additions.add(selection),
  refuse: (sentence) => batch.notices.set("add", sentence),
  over: (is) => place.classList.toggle("over", is),
});
