import assert from "node:assert/strict";
import { test } from "node:test";

import { roundUp, spanOf } from "../../static/chart.js";

const samples = (...moments) => moments.map((at) => ({ at }));

test("an axis ends at a round number with a round half", () => {
  assert.deepEqual([0, 1, 2, 3, 5, 7, 9, 10, 11].map(roundUp), [2, 2, 2, 4, 6, 8, 10, 10, 20]);
  assert.deepEqual([95, 101, 399, 4001].map(roundUp), [100, 200, 400, 6000]);
  for (let value = 0; value < 3000; value += 1) {
    const top = roundUp(value);
    assert.ok(top >= value && Number.isInteger(top / 2) && top <= Math.max(2, 2 * value), `${value}: ${top}`);
  }
});

test("the axis shows all samples, within reason, and says how much that is", () => {
  assert.deepEqual(spanOf([]), { span: 60, words: "The last minute" });
  assert.deepEqual(spanOf(samples(100, 110)), { span: 60, words: "The last minute" });
  assert.deepEqual(spanOf(samples(0, 61)), { span: 61, words: "The last 2 minutes" });
  assert.deepEqual(spanOf(samples(0, 500, 990)), { span: 990, words: "The last 17 minutes" });
  assert.deepEqual(spanOf(samples(0, 100_000)), { span: 1800, words: "The last half hour" });
});
