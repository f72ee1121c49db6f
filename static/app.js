// Keeps a batch's page up to date.  Without JavaScript the page reloads until all images are answered.

import { Batch } from "./batch.js";

const { results, events, cancel, times, fleet } = document.getElementById("batch").dataset;

new Batch({ results, events, cancel, times, fleet }).adopt();
