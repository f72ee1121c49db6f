import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { formatBytes } from "../../static/sizes.js";

const EXAMPLES = JSON.parse(readFileSync(new URL("sizes.json", import.meta.url), "utf8"));

test("sizes are written as core/sizes.py writes them", () => {
  for (const [count, text] of EXAMPLES) assert.equal(formatBytes(count), text);
});

test("a size that is not whole, such as a speed, is rounded", () => {
  assert.equal(formatBytes(811.6), "812 bytes");
});
