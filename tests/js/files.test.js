import assert from "node:assert/strict";
import { test } from "node:test";

import { filesFromDrop, keepImages, pathOf } from "../../static/files.js";

const file = (name) => ({ name });
const chosen = (path) => ({ name: path.split("/").at(-1), webkitRelativePath: path });
const fileEntry = (name) => ({ isDirectory: false, fullPath: `/${name}`, file: (resolve) => resolve(file(name)) });

// A folder whose reader hands out two entries at a time, as browsers hand out a hundred.
function folderEntry(name, entries) {
  place(name, entries);
  return {
    isDirectory: true,
    name,
    entries,
    createReader() {
      const left = [...entries];
      return { readEntries: (resolve) => resolve(left.splice(0, 2)) };
    },
  };
}

function place(name, entries) {
  for (const entry of entries) {
    if (entry.isDirectory) place(name, entry.entries);
    else entry.fullPath = `/${name}${entry.fullPath}`;
  }
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
  const paths = ["1.png", "2.jpg", "inner/3.jpg", "inner/4.jpg", "inner/5.gif"].map((path) => `holiday/${path}`);
  assert.deepEqual(files.map(pathOf), paths);
  assert.deepEqual([others, name], [1, "holiday"]);
});

test("files of one name in two folders differ by their paths", async () => {
  const folders = ["set_1", "set_2"].map((name) => folderEntry(name, [fileEntry("image_1.jpg")]));
  const dropped = await filesFromDrop(transfer([folderEntry("photos", folders)]));
  assert.deepEqual(dropped.files.map(pathOf), ["photos/set_1/image_1.jpg", "photos/set_2/image_1.jpg"]);
  const { files } = keepImages(["photos/set_2/image_1.jpg", "photos/set_1/image_1.jpg"].map(chosen));
  assert.deepEqual(files.map(pathOf), ["photos/set_1/image_1.jpg", "photos/set_2/image_1.jpg"]);
  assert.equal(pathOf(file("alone.jpg")), "alone.jpg");
});

test("what is hidden below the chosen folder is left out", () => {
  const found = keepImages([".photos/a.jpg", ".photos/._a.jpg", ".photos/.trash/b.jpg", ".photos/__MACOSX/c.jpg"].map(chosen));
  assert.deepEqual([found.files.map(pathOf), found.others], [[".photos/a.jpg"], 3]);
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
