import assert from "node:assert/strict";
import { test } from "node:test";

import { Model } from "../../static/model.js";

function answer(position, name, fields) {
  const nothing = { label: null, score: null, unsure: false, group: null, top_k: [], error: null, model: "m@1", image_url: null };
  return { key: `x/${String(position).padStart(5, "0")}-${name}`, position, name, ...nothing, ...fields };
}

function names(model, view = {}) {
  model.setView(view);
  return model.visible.map((file) => file.name);
}

function answered() {
  const model = new Model();
  model.addFiles([{ name: "b10.jpg" }, { name: "b9.jpg" }, { name: "a.jpg" }]);
  model.answer(answer(1, "b9.jpg", { label: "zebra", score: 0.9 }));
  model.answer(answer(2, "a.jpg", { label: "Apple", score: 0.4, unsure: true }));
  model.answer(answer(7, "late.jpg", { error: { code: "broken", sentence: "it is broken" } }));
  model.answer(answer(5, "early.jpg", { label: "mango", score: 0.95 }));
  return model;
}

test("an answer that comes twice counts once", () => {
  const model = answered();
  const before = model.tally;
  model.answer(answer(1, "b9.jpg", { label: "zebra", score: 0.9 }));
  assert.deepEqual(model.tally, before);
  assert.deepEqual(before, { classified: 2, unsure: 1, failed: 1, lost: 0, answered: 4, uploaded: 4, all: 5 });
});

test("files are shown by position, also those that came in another order", () => {
  assert.deepEqual(names(answered()), ["b10.jpg", "b9.jpg", "a.jpg", "early.jpg", "late.jpg"]);
});

test("names with numbers sort as people count", () => {
  assert.deepEqual(names(answered(), { sort: "name" }), ["a.jpg", "b9.jpg", "b10.jpg", "early.jpg", "late.jpg"]);
});

test("what has no label or score comes last, whatever is sorted by", () => {
  const model = answered();
  assert.deepEqual(names(model, { sort: "label" }), ["a.jpg", "early.jpg", "b9.jpg", "b10.jpg", "late.jpg"]);
  assert.deepEqual(names(model, { sort: "sure" }), ["early.jpg", "b9.jpg", "a.jpg", "b10.jpg", "late.jpg"]);
  assert.deepEqual(names(model, { sort: "doubtful" }), ["a.jpg", "b9.jpg", "early.jpg", "b10.jpg", "late.jpg"]);
});

test("filters: by state, without an answer, and failures with what was not uploaded", () => {
  const model = answered();
  assert.deepEqual(names(model, { filter: "unsure" }), ["a.jpg"]);
  assert.deepEqual(names(model, { filter: "open" }), ["b10.jpg"]);
  model.mark(0, 1, "lost", "not uploaded");
  assert.deepEqual(names(model, { filter: "open" }), []);
  assert.deepEqual(names(model, { filter: "failed" }), ["b10.jpg", "late.jpg"]);
});

test("a search finds a name in either form of its accents, in any case, and by its folder", () => {
  const model = new Model();
  model.answer(answer(0, "été/Cafe\u0301.jpg", { label: "espresso", score: 0.9 }));
  model.answer(answer(1, "ete/ΟΔΟΣ.jpg", { label: "Straße", score: 0.9 }));
  for (const search of ["caf\u00e9", "CAFE\u0301", "e\u0301te\u0301/caf", "ESPRESSO"]) {
    assert.deepEqual(names(model, { search }), ["été/Cafe\u0301.jpg"], search);
  }
  for (const search of ["οδος", "οδοσ", "STRASSE", "straße", "ete/"]) assert.deepEqual(names(model, { search }), ["ete/ΟΔΟΣ.jpg"], search);
});

test("a search wants all words, in the name or the label, in any case", () => {
  const model = answered();
  assert.deepEqual(names(model, { search: "JPG zeb" }), ["b9.jpg"]);
  assert.deepEqual(names(model, { search: "zeb apple" }), []);
  assert.deepEqual(names(model, { search: "  " }).length, 5);
});

test("a file is found by the group that its answer names", () => {
  const model = answered();
  const top_k = [{ label: "beagle", score: 0.4, group: "dog" }];
  model.answer(answer(1, "b9.jpg", { label: "beagle", score: 0.9, top_k }));
  model.answer(answer(2, "a.jpg", { label: "boxer", score: 0.4, unsure: true, group: { name: "hound", score: 0.8 }, top_k }));
  assert.deepEqual(names(model, { search: "dog" }), ["b9.jpg"]);
  assert.deepEqual(names(model, { search: "hound" }), ["a.jpg"]);
  assert.deepEqual(names(model, { search: "boxer" }), ["a.jpg"]);
});

test("a file is found by the label of its newest answer", () => {
  const model = answered();
  names(model, { search: "zebra" });
  model.answer(answer(1, "b9.jpg", { label: "horse", score: 0.8 }));
  assert.deepEqual(names(model, { search: "zebra" }), []);
  assert.deepEqual(names(model, { search: "horse" }), ["b9.jpg"]);
});

test("only a view that depends on answers is made anew by one", () => {
  const model = answered();
  assert.equal(model.selective, false);
  const plain = model.visible;
  model.answer(answer(0, "b10.jpg", { label: "cat", score: 0.7 }));
  assert.equal(model.visible, plain);
  model.setView({ filter: "classified" });
  assert.equal(model.selective, true);
  const filtered = model.visible;
  model.answer(answer(0, "b10.jpg", { error: { code: "broken", sentence: "" } }));
  assert.notEqual(model.visible, filtered);
});

test("an uploaded file gets its key, and later its answer", () => {
  const model = new Model();
  model.addFiles([{ name: "a.jpg" }]);
  assert.deepEqual([model.tally.all, model.tally.uploaded], [1, 0]);
  model.stored("x/00000-a.jpg", 0);
  assert.equal(model.visible[0].state, "queued");
  model.answer(answer(0, "a.jpg", { label: "cat", score: 0.7 }));
  assert.deepEqual([model.tally.all, model.tally.uploaded, model.tally.answered], [1, 1, 1]);
  assert.equal(model.visible[0].label, "cat");
});

test("an answer may come before the upload's own", () => {
  const model = new Model();
  model.addFiles([{ name: "a.jpg" }]);
  model.answer(answer(0, "a.jpg", { label: "cat", score: 0.7 }));
  model.stored("x/00000-a.jpg", 0);
  assert.deepEqual([model.tally.all, model.tally.answered], [1, 1]);
  assert.equal(model.visible[0].state, "classified", "what is answered is not queued again");
});

test("an image of an archive is shown when it is stored, or with its result if that comes first", () => {
  const model = new Model();
  model.answer(answer(1, "b.jpg", { label: "zebra", score: 0.9 }));
  model.stored("x/00000-a.jpg", 0, "p.zip/a.jpg");
  model.stored("x/00001-b.jpg", 1, "p.zip/b.jpg");
  assert.deepEqual(model.visible.map(({ name, state }) => [name, state]), [["p.zip/a.jpg", "queued"], ["b.jpg", "classified"]]);
  model.answer(answer(0, "a.jpg", { label: "Apple", score: 0.9 }));
  assert.deepEqual([model.tally.answered, model.tally.all], [2, 2]);
});

test("files known from the server are shown with the others", () => {
  const model = new Model();
  model.addKnown({ key: "x/00003-d.jpg", position: 3, name: "d.jpg", state: "queued" });
  model.addKnown({ key: "x/00001-b.jpg", position: 1, name: "b.jpg", state: "queued" });
  assert.deepEqual(names(model), ["b.jpg", "d.jpg"]);
  assert.equal(model.tally.uploaded, 2);
});

test("the bytes of a chunk fill its files one after the other", () => {
  const model = new Model();
  model.addFiles([{ name: "a" }, { name: "b" }, { name: "empty" }, { name: "c" }]);
  model.sent(0, [100, 200, 0, 100], 200);
  assert.deepEqual(model.visible.map((file) => file.sent), [1, 0.5, 1, 0]);
  model.mark(0, 4, "waiting");
  assert.deepEqual(model.visible.map((file) => file.sent), [0, 0, 0, 0]);
});

test("a cancelled batch is known by its answers", () => {
  const model = answered();
  assert.equal(model.cancelled, false);
  model.answer(answer(0, "b10.jpg", { error: { code: "cancelled", sentence: "it was cancelled" } }));
  assert.equal(model.cancelled, true);
});

test("every change of a file gives it another version", () => {
  const model = answered();
  const file = model.visible[0];
  const before = file.version;
  model.mark(0, 1, "uploading");
  assert.ok(file.version > before);
});
