// Makes a batch's page live.  Without it the page loads itself again until all is answered.

import { Batch } from "./batch.js";

const { results, events, cancel, fleet } = document.getElementById("batch").dataset;

new Batch({ results, events, cancel, fleet }).adopt();
