import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Poller } from "../../static/poller.js";
import { Clock, Page, serve, settle } from "./world.js";

let clock, page, seen;

beforeEach(() => {
  clock = new Clock();
  page = new Page();
  seen = { pages: 0, troubles: 0 };
});

function poller(options = {}) {
  return new Poller("/results", {
    page: () => (seen.pages += 1),
    trouble: () => (seen.troubles += 1),
    finished: options.finished ?? (() => false),
    missing: options.missing ?? (() => false),
  });
}

test("it asks once a second, each time for what is new", async () => {
  let number = 0;
  const urls = serve(() => ({ cursor: `c/${(number += 1)}`, more: false }));
  poller().run();
  await clock.advance(2500);
  assert.deepEqual(urls, ["/results?cursor=", "/results?cursor=c%2F1", "/results?cursor=c%2F2"]);
  assert.equal(seen.pages, 3);
});

test("it does not wait where there is more", async () => {
  let left = 5;
  const urls = serve(() => ({ cursor: "", more: (left -= 1) > 0 }));
  poller().run();
  await clock.advance(0);
  assert.equal(urls.length, 5);
});

test("it ends when all is there", async () => {
  const urls = serve(() => ({ cursor: "", more: false }));
  poller({ finished: () => urls.length === 3 }).run();
  await clock.advance(60_000);
  assert.equal(urls.length, 3);
});

test("it begins again where a result was missed", async () => {
  const urls = serve(() => ({ cursor: "end", more: false }));
  const one = poller({ missing: () => urls.length === 1, finished: () => true });
  one.run();
  await clock.advance(1500);
  assert.deepEqual(urls, ["/results?cursor=", "/results?cursor="]);
});

test("it asks less and less often while there is trouble, and again as before afterwards", async () => {
  let broken = true;
  const moments = [];
  serve(() => {
    moments.push(clock.now);
    return broken ? null : { cursor: "", more: false };
  });
  poller().run();
  await clock.advance(60_000);
  assert.deepEqual(moments, [0, 2000, 6000, 14_000, 29_000, 44_000, 59_000]);
  assert.equal(seen.troubles, 7);
  broken = false;
  await clock.advance(16_500);
  assert.deepEqual(moments.slice(-3), [74_000, 75_000, 76_000]);
});

test("a hidden tab asks seldom", async () => {
  const urls = serve(() => ({ cursor: "", more: false }));
  page.hidden = true;
  poller().run();
  await clock.advance(29_999);
  assert.equal(urls.length, 3);
});

test("asking takes a quarter of the time at most", async () => {
  const moments = [];
  serve(() => {
    moments.push(clock.now);
    clock.now += 2000; // a large batch
    return { cursor: "", more: false };
  });
  poller().run();
  await clock.advance(17_000);
  assert.deepEqual(moments, [0, 8000, 16_000]);
});

test("run asks at once where it waits, and no second time beside it", async () => {
  const urls = serve(() => ({ cursor: "", more: false }));
  const one = poller();
  one.run();
  await clock.advance(300);
  one.run();
  await clock.advance(300);
  assert.equal(urls.length, 2);
  await clock.advance(1000);
  assert.equal(urls.length, 3);
});

test("a stopped one asks no more, also where it was waiting for an answer", async () => {
  const urls = serve(() => ({ cursor: "", more: false }));
  const one = poller();
  one.run();
  one.stop();
  await settle();
  assert.equal(seen.pages, 0);
  await clock.advance(60_000);
  assert.equal(urls.length, 1);
});
