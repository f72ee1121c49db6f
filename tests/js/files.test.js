import assert from "node:assert/strict";
import { test } from "node:test";

import { filesFromDrop, keepImages } from "../../static/files.js";

const file = (name) => ({ name });
const fileEntry = (name) => ({ isDirectory: false, file: (resolve) => resolve(file(name)) });

// A folder whose reader hands out two entries at a time, as browsers hand out a hundred.
function folderEntry(name, entries) {
  return {
    isDirectory: true,
    name,
    createReader() {
      const left = [...entries];
      return { readEntries: (resolve) => resolve(left.splice(0, 2)) };
    },
  };
}

function transfer(entries, files = []) {
  return { items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })), files };
}

const namesOf = (files) => files.map((one) => one.name);

test("of a folder the visible images are kept, in the order of people", () => {
  const { files, others } = keepImages(["b10.JPG", "b9.jpeg", "notes.txt", ".hidden.png", "a.webp"].map(file));
  assert.deepEqual(namesOf(files), ["a.webp", "b9.jpeg", "b10.JPG"]);
  assert.equal(others, 2);
});

test("dropped files are taken as they are", async () => {
  const dropped = ["notes.txt", "b.jpg"].map(file);
  assert.deepEqual(await filesFromDrop(transfer(dropped.map((one) => fileEntry(one.name)), dropped)), {
    files: dropped,
    others: 0,
    name: "",
  });
});

test("a dropped folder is read to its end, with the folders in it", async () => {
  const inner = folderEntry("inner", ["4.jpg", "3.jpg", "5.gif"].map(fileEntry));
  const outer = folderEntry("holiday", [fileEntry("2.jpg"), fileEntry("Thumbs.db"), inner, fileEntry("1.png")]);
  const { files, others, name } = await filesFromDrop(transfer([outer]));
  assert.deepEqual(namesOf(files), ["1.png", "2.jpg", "3.jpg", "4.jpg", "5.gif"]);
  assert.deepEqual([others, name], [1, "holiday"]);
});

test("with a folder, the files beside it come first", async () => {
  const found = await filesFromDrop(transfer([folderEntry("f", [fileEntry("a.jpg")]), fileEntry("readme.md")]));
  assert.deepEqual(namesOf(found.files), ["readme.md", "a.jpg"]);
  assert.equal(found.name, "", "two things were dropped: neither gives the batch its name");
});

test("a folder that cannot be read is an error", async () => {
  const unreadable = { isDirectory: true, createReader: () => ({ readEntries: (_, reject) => reject(new Error("no")) }) };
  await assert.rejects(filesFromDrop(transfer([unreadable])), /no/);
});
