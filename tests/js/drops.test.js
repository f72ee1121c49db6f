// Drops and pastes: files are taken, everything else is named, and the page's own pictures and text fields are left alone.

import assert from "node:assert/strict";
import { File } from "node:buffer";
import { beforeEach, test } from "node:test";

import { listenForFiles, named } from "../../static/drops.js";
import { settle } from "./world.js";

let page, taken, refused, over;

beforeEach(() => {
  page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  [taken, refused, over] = [[], [], []];
  listenForFiles({ take: (found) => taken.push(found), refuse: (sentence) => refused.push(sentence), over: (is) => over.push(is) });
});

const field = { closest: () => ({}) };

// Sends an event as from an element; returns whether the browser's own reaction is prevented.
async function send(kind, { files = [], items = [], target = {}, broken = false } = {}) {
  const event = new Event(kind, { cancelable: true });
  const types = files.length || items.length ? ["Files"] : ["text/plain"];
  const transfer = { files, items, types };
  if (broken) transfer.items = [{ webkitGetAsEntry: () => ({ isDirectory: true, name: "x", createReader: () => ({ readEntries: (_found, fail) => fail(new Error()) }) }) }];
  Object.defineProperty(event, "target", { value: target });
  Object.assign(event, { dataTransfer: transfer, clipboardData: transfer });
  page.dispatchEvent(event);
  await settle();
  return event.defaultPrevented;
}

const image = (name) => new File(["x"], name, { type: "image/png" });

test("dropped files are taken", async () => {
  const file = image("a.png");
  assert.ok(await send("dragover", { files: [file] }));
  assert.ok(await send("drop", { files: [file] }));
  assert.deepEqual(taken, [{ files: [file], others: 0, name: "" }]);
  assert.deepEqual([over, refused], [[true, false], []]);
});

test("a drop without files is named, except into a text field", async () => {
  assert.ok(await send("drop"));
  assert.equal(refused.length, 1);
  assert.equal(await send("dragover", { target: field }), false);
  assert.equal(await send("drop", { target: field }), false);
  assert.deepEqual([refused.length, taken], [1, []]);
  assert.ok(await send("drop", { target: field, files: [image("a.png")] }));
  assert.equal(taken.length, 1);
});

test("a picture of the page itself is no upload", async () => {
  await send("dragstart");
  assert.ok(await send("drop", { files: [image("a.png")] }));
  await send("dragend");
  assert.deepEqual([taken, refused], [[], []]);
  await send("drop", { files: [image("a.png")] });
  assert.equal(taken.length, 1);
});

test("a folder that cannot be read is named", async () => {
  assert.ok(await send("drop", { broken: true, files: [image("x")] }));
  assert.match(refused[0], /could not be read/);
});

test("pasted images are taken, text is named, and a text field keeps its own", async () => {
  assert.ok(await send("paste", { files: [image("image.png"), image("image.png"), image("cat.png")] }));
  const names = taken[0].files.map(({ name }) => name);
  assert.equal(new Set(names).size, 3);
  assert.equal(names[2], "cat.png");
  assert.equal(await send("paste", { target: field }), false);
  assert.deepEqual(refused, []);
  await send("paste");
  assert.match(refused[0], /clipboard/);
});

test("a picture on the clipboard is named after its time", () => {
  const now = new Date(2026, 0, 2, 3, 4, 5);
  assert.equal(named(image("image.png"), 0, now).name, "pasted 2026-01-02 03-04-05.png");
  assert.equal(named(image("image.jpeg"), 1, now).name, "pasted 2026-01-02 03-04-05 2.jpeg");
  assert.equal(named(image("image 7.png"), 0, now).name, "image 7.png");
});
