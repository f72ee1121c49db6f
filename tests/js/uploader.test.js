import assert from "node:assert/strict";
import { File } from "node:buffer";
import { beforeEach, test } from "node:test";

import { positionOf, Uploader } from "../../static/uploader.js";
import { Clock, Page, settle } from "./world.js";

const MAX_IMAGE_BYTES = 1000;
let clock, page, reachable, respond, requests, events;

// Stands for XMLHttpRequest: `respond(request)` gives [status, body] of an answer, or null where none comes.
class Request extends EventTarget {
  upload = new EventTarget();
  status = 0;
  statusText = "";
  responseText = "";

  open(_method, url) {
    const query = new URL(url, "http://test").searchParams;
    this.offset = Number(query.get("offset"));
    this.keepsOthers = query.get("keep_others") === "1";
  }

  async send(form) {
    this.names = form.getAll("images").map((file) => file.name);
    this.sizes = form.getAll("images").map((file) => file.size);
    requests.push(this);
    const answer = await respond(this);
    if (this.aborted) return;
    if (answer) [this.status, this.responseText] = [answer[0], JSON.stringify(answer[1])];
    this.dispatchEvent(new Event("loadend"));
  }

  abort() {
    this.aborted = true;
    this.dispatchEvent(new Event("loadend"));
  }
}

function accept({ offset, names }) {
  const accepted = names.map((name, index) => ({ key: `b/${String(offset + index).padStart(5, "0")}-${name}` }));
  return [200, { accepted, rejected: [], not_stored: [] }];
}

function files(count, size = 10) {
  return Array.from({ length: count }, (_, number) => new File([new Uint8Array(size)], `${number}.jpg`));
}

function uploader() {
  const note = (kind) => (...given) => events.push([kind, ...given]);
  const kinds = ["weighed", "waiting", "started", "progress", "stored", "settled", "failed", "unpacked"];
  return new Uploader("/images", MAX_IMAGE_BYTES, {
    ...Object.fromEntries(kinds.map((kind) => [kind, note(kind)])),
    changed: () => {},
  });
}

test("a file is sent under its path in the chosen folder", async () => {
  const chosen = files(2);
  chosen.forEach((file, index) => Object.defineProperty(file, "webkitRelativePath", { value: `set_${index}/image_1.jpg` }));
  uploader().addFiles(chosen);
  await settle();
  assert.deepEqual(requests[0].names, ["set_0/image_1.jpg", "set_1/image_1.jpg"]);
});

const all = (kind) => events.filter(([name]) => name === kind);
const stored = () => all("stored").map(([, { position }]) => position).sort((a, b) => a - b);
const failed = () => all("failed").map(([, chunk, sentence, again]) => [chunk.offset, chunk.files.length, sentence, again]);

beforeEach(() => {
  clock = new Clock();
  page = new Page();
  reachable = true;
  respond = accept;
  requests = [];
  events = [];
  globalThis.XMLHttpRequest = Request;
  globalThis.fetch = async () => ({ ok: reachable });
});

test("files go in chunks of twenty, each with the position of its first", async () => {
  const one = uploader();
  await one.addFiles(files(45));
  await settle();
  assert.deepEqual(requests.map(({ offset, names }) => [offset, names.length]), [[0, 20], [20, 20], [40, 5]]);
  assert.deepEqual(stored(), Array.from({ length: 45 }, (_, number) => number));
  assert.equal(one.busy, false);
});

test("three requests are under way at a time", async () => {
  const waiting = [];
  respond = (request) => new Promise((resolve) => waiting.push(() => resolve(accept(request))));
  uploader().addFiles(files(100));
  await settle();
  assert.equal(requests.length, 3);
  waiting[1]();
  await settle();
  assert.equal(requests.length, 4);
});

test("of a file above the limit, no more is sent than shows it", async () => {
  await uploader().addFiles([...files(1, 5000), ...files(1, 5)]);
  await settle();
  assert.deepEqual(requests[0].sizes, [MAX_IMAGE_BYTES + 1, 5]);
  assert.deepEqual(all("weighed").at(-1)[1], { bytes: MAX_IMAGE_BYTES + 6, large: 1, more: false });
});

test("a failing server is asked again, at longer and longer intervals", async () => {
  let failures = 3;
  respond = (request) => ((failures -= 1) >= 0 ? [503, {}] : accept(request));
  await uploader().addFiles(files(2));
  await settle();
  assert.equal(requests.length, 1);
  await clock.advance(500 + 1000 + 2000);
  assert.equal(requests.length, 4);
  assert.deepEqual(stored(), [0, 1]);
});

test("a refusal is final and comes with the server's reason", async () => {
  respond = () => [403, { detail: "the batch is full" }];
  await uploader().addFiles(files(2));
  await clock.advance(60_000);
  assert.equal(requests.length, 1);
  assert.deepEqual(failed(), [[0, 2, "the batch is full", true]]);
});

test("a limit on requests is no refusal", async () => {
  let limited = true;
  respond = (request) => (limited ? ((limited = false), [429, { detail: "slower" }]) : accept(request));
  await uploader().addFiles(files(2));
  await clock.advance(1000);
  assert.deepEqual(stored(), [0, 1]);
});

test("without a network no attempt is lost, and it goes on as soon as there is one", async () => {
  reachable = false;
  respond = (request) => (reachable ? accept(request) : null);
  const one = uploader();
  await one.addFiles(files(2));
  await clock.advance(120_000);
  assert.deepEqual([one.offline, failed()], [true, []]);
  reachable = true;
  page.emit("online");
  await settle();
  await settle();
  assert.equal(one.offline, false);
  assert.deepEqual(stored(), [0, 1]);
});

test("one file that cannot be read does not take the others of its chunk with it", async () => {
  respond = (request) => (request.names.includes("1.jpg") ? null : accept(request));
  await uploader().addFiles(files(3));
  await clock.advance(60_000);
  assert.deepEqual(stored(), [0, 2]);
  assert.deepEqual(failed(), [[1, 1, "not uploaded", true]]);
});

test("what the server did not store can be tried again, unless the batch is full", async () => {
  respond = ({ offset }) => [
    200,
    {
      accepted: [{ key: `b/0000${offset}-0.jpg` }],
      rejected: [],
      not_stored: [
        { position: offset + 1, code: "storage", error: "storage failed" },
        { position: offset + 2, code: "batch_full", error: "the batch is full" },
      ],
    },
  ];
  await uploader().addFiles(files(3));
  await settle();
  assert.deepEqual(stored(), [0]);
  assert.deepEqual(failed(), [[1, 1, "storage failed", true], [2, 1, "the batch is full", false]]);
});

test("files for scattered positions go into requests of consecutive ones", async () => {
  const one = uploader();
  await one.addFiles(files(5), [3, 4, 9, 12, 13], true);
  await settle();
  assert.deepEqual(requests.map(({ offset, names }) => [offset, names.length]), [[3, 2], [9, 1], [12, 2]]);
  assert.ok(requests.every(({ keepsOthers }) => keepsOthers));
  assert.deepEqual(stored(), [3, 4, 9, 12, 13]);
});

test("files that are added during an upload join it", async () => {
  const one = uploader();
  const first = one.addFiles(files(30));
  const second = one.addFiles(files(2), [30, 31], true);
  assert.equal(one.busy, true);
  await Promise.all([first, second]);
  await settle();
  assert.equal(one.busy, false);
  assert.deepEqual(stored(), Array.from({ length: 32 }, (_, position) => position));
  assert.deepEqual(requests.map(({ keepsOthers }) => keepsOthers), [false, false, true]);
  assert.equal(all("weighed").at(-1)[1].more, false);
});

test("a file that the server stored at another position is still that of its place in the request", async () => {
  respond = ({ names }) => [200, { accepted: names.map((name, index) => ({ name, key: `b/${index ? "00041" : "00007"}-${name}` })), rejected: [], not_stored: [] }];
  await uploader().addFiles(files(2), [7, 8], true);
  await settle();
  assert.deepEqual(all("stored").map(([, { key, position }]) => [key, position]), [["b/00007-0.jpg", 7], ["b/00041-1.jpg", 8]]);
});

test("what was not weighed when an upload is cancelled is named with its own positions", async () => {
  const one = uploader();
  const chosen = files(4);
  // Reading the second file's size takes long, so that the loop yields after it.
  Object.defineProperty(chosen[1], "size", { get: () => { clock.now += 1000; return 10; } });
  respond = () => new Promise(() => {});
  const weighing = one.addFiles(chosen, [1, 2, 5, 9], true);
  one.cancel();
  await clock.advance(1);
  await weighing;
  assert.deepEqual(failed().map(([offset, count]) => [offset, count]).sort(), [[1, 2], [5, 1], [9, 1]]);
  assert.equal(one.busy, false);
});

test("a cancelled upload ends at once, with what waits and what is under way", async () => {
  respond = () => new Promise(() => {});
  const one = uploader();
  await one.addFiles(files(100));
  one.cancel();
  await settle();
  assert.equal(requests.length, 3);
  assert.equal(all("failed").length, 5);
  assert.ok(failed().every(([, , sentence, again]) => sentence === "cancelled before its upload" && !again));
  assert.equal(one.busy, false);
});

test("the position stands in the key", () => {
  assert.equal(positionOf("20260101-000000-0123456789ab/00042-7.jpg"), 42);
});

// --- archives

const archives = (...names) => names.map((name) => new File([new Uint8Array(50)], name));
const photos = { "a.zip": 3, "b.zip": 2 };

function unpack({ offset, names }) {
  const [name] = names;
  const images = Array.from({ length: photos[name] }, (_, index) => `${name}/${index}.jpg`);
  const accepted = images.map((image, index) => ({ name: image, key: `b/${String(offset + index).padStart(5, "0")}-x` }));
  return [200, { accepted, rejected: [], not_stored: [], archives: [{ name, files: images.length, hidden: 0, others: 0 }] }];
}

test("archives are sent one after the other, each behind the images of the last", async () => {
  const one = uploader();
  let answer;
  respond = (request) => new Promise((resolve) => { answer = () => resolve(unpack(request)); });
  one.addArchives(archives("a.zip", "b.zip"), 7, 100, false);
  await settle();
  assert.deepEqual(requests.map(({ names, offset }) => [names[0], offset]), [["a.zip", 7]]);
  answer();
  await settle();
  assert.deepEqual(requests.map(({ names, offset }) => [names[0], offset]), [["a.zip", 7], ["b.zip", 10]]);
  assert.equal(one.busy, true);
  answer();
  await settle();
  assert.deepEqual([stored(), one.busy], [[7, 8, 9, 10, 11], false]);
  assert.deepEqual(all("unpacked").map(([, archive, full]) => [archive.name, full]), [["a.zip", 0], ["b.zip", 0]]);
});

test("an archive above the limit is not sent, and the next one is", async () => {
  respond = unpack;
  uploader().addArchives([new File([new Uint8Array(101)], "a.zip"), ...archives("b.zip")], 0, 100, false);
  await settle();
  assert.deepEqual(requests.map(({ names }) => names[0]), ["b.zip"]);
  assert.deepEqual(all("failed").map(([, chunk, sentence, again]) => [chunk.files[0].name, sentence, again]), [["a.zip", "larger than the limit", false]]);
});

test("a file that is no archive in spite of its name takes one position", async () => {
  respond = (request) => request.names[0] === "b.zip" ? unpack(request) : [200, { ...accept(request)[1], archives: [] }];
  uploader().addArchives(archives("image.zip", "b.zip"), 0, 100, false);
  await settle();
  assert.deepEqual(stored(), [0, 1, 2]);
  assert.equal(all("unpacked")[0][1].files, 1);
});

test("archives behind one that failed are not sent, and all go in their order when they are tried again", async () => {
  const one = uploader();
  respond = () => [403, { detail: "the quota is used up" }];
  one.addArchives(archives("a.zip", "b.zip"), 4, 100, false);
  await settle();
  const lost = all("failed").map(([, chunk, sentence]) => [chunk.files[0].name, sentence]);
  assert.deepEqual([lost, one.busy], [[["a.zip", "the quota is used up"], ["b.zip", "not uploaded"]], false]);
  respond = unpack;
  one.add(all("failed").map(([, chunk]) => chunk));
  await settle();
  assert.deepEqual(requests.slice(1).map(({ names, offset }) => [names[0], offset]), [["a.zip", 4], ["b.zip", 7]]);
});

test("an archive of which an image was not stored is sent again to the same positions", async () => {
  const one = uploader();
  respond = (request) => {
    const [status, report] = unpack(request);
    const left = { name: report.accepted.pop().name, position: 2, code: "not_stored", error: "please try again" };
    return [status, { ...report, not_stored: [left] }];
  };
  one.addArchives(archives("a.zip"), 0, 100, false);
  await settle();
  assert.deepEqual(all("failed").map(([, , sentence]) => sentence), ["1 of its images could not be stored"]);
  respond = unpack;
  one.add(all("failed").map(([, chunk]) => chunk));
  await settle();
  assert.deepEqual([requests.map(({ offset }) => offset), stored()], [[0, 0], [0, 0, 1, 1, 2]]);
});
