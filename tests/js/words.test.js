import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOf, doubtOf, inPlainWords, withArticle } from "../../static/words.js";

const top = [
  { label: "beagle", score: 0.4, group: "dog" },
  { label: "boxer", score: 0.3, group: "dog" },
];
const sure = { state: "classified", label: "beagle", score: 0.9, group: null, top };

test("a label is shown with its group, unless it names it", () => {
  assert.equal(inPlainWords({ label: "tabby", group: "cat" }), "tabby, a cat");
  assert.equal(inPlainWords({ label: "ant", group: "insect" }), "ant, an insect");
  assert.equal(inPlainWords({ label: "Egyptian cat", group: "cat" }), "Egyptian cat");
  assert.equal(inPlainWords({ label: "Indian Elephant", group: "elephant" }), "Indian Elephant");
  assert.equal(inPlainWords({ label: "Band Aid", group: null }), "Band Aid");
  assert.equal(withArticle("household appliance"), "a household appliance");
});

test("the answer is the label with its group, or the group in doubt", () => {
  assert.equal(answerOf(sure), "beagle, a dog");
  assert.equal(answerOf({ ...sure, group: { name: "dog", score: 0.7 } }), "a dog (unsure which)");
  assert.equal(answerOf({ ...sure, group: { name: "animal", score: 0.7 } }), "an animal (unsure which)");
  assert.equal(answerOf({ ...sure, top: [] }), "beagle");
  assert.equal(answerOf({ ...sure, state: "unsure" }), "beagle");
  assert.equal(answerOf({ state: "queued", label: "", group: null, top: [] }), "");
});

test("in doubt the likeliest labels are named", () => {
  assert.equal(doubtOf({ ...sure, score: 0.4 }), "unsure; or boxer, 30\u00a0%");
  assert.equal(doubtOf({ ...sure, score: 0.4, top: [top[0]] }), "unsure");
  const group = { name: "dog", score: 0.7 };
  assert.equal(doubtOf({ ...sure, score: 0.4, group }), "perhaps beagle, 40\u00a0%; or boxer, 30\u00a0%");
});
