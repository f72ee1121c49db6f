import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { BatchUpdates } from "../../static/batch_updates.js";
import { Clock, Page, serve, settle } from "./world.js";

const URLS = { events: "/events", results: "/results", fleet: "/fleet" };
let clock, page, streams, polls, seen, finished, missing;

// Stands for EventSource.
class Source extends EventTarget {
  static CLOSED = 2;
  readyState = 1;

  constructor(url) {
    super();
    this.url = url;
    streams.push(this);
  }

  send(kind, data, lastEventId = "") {
    this.dispatchEvent(Object.assign(new Event(kind), { data: JSON.stringify(data), lastEventId }));
  }

  fail(readyState = 0) {
    this.readyState = readyState;
    this.dispatchEvent(new Event("error"));
  }

  close() {
    this.readyState = Source.CLOSED;
  }
}

function updates() {
  return new BatchUpdates(URLS, {
    results: (list) => seen.results.push(...list),
    state: (state) => (seen.state = state),
    fleet: (hint) => (seen.fleet = hint),
    trouble: () => (seen.troubles += 1),
    finished: () => finished,
    missing: (answered) => missing(answered),
    deleted: () => (seen.deleted = true),
  });
}

beforeEach(() => {
  clock = new Clock();
  page = new Page();
  streams = [];
  finished = true;
  missing = () => false;
  seen = { results: [], troubles: 0, deleted: false, state: null, fleet: null };
  globalThis.EventSource = Source;
  polls = serve((url) =>
    url === URLS.fleet
      ? { history: [{ booting: 1, running: 0 }], expected_boot_seconds: 30 }
      : { cursor: "p1", more: false, results: ["polled"], complete: false, accepted: 3, answered: 0 },
  );
});

test("results, state and fleet come as events", async () => {
  const one = updates();
  one.run();
  streams[0].send("state", { accepted: 2 });
  streams[0].send("results", { results: ["a", "b"] }, "c1");
  streams[0].send("fleet", { booting: 1 });
  await clock.advance(60_000);
  assert.deepEqual([seen.results, seen.state, seen.fleet], [["a", "b"], { accepted: 2 }, { booting: 1 }]);
  assert.deepEqual([one.way, polls, seen.troubles], ["events", [], 0]);
});

test("running it again opens no second stream", () => {
  const one = updates();
  one.run();
  one.run();
  assert.equal(streams.length, 1);
});

test("it ends when all is there", async () => {
  updates().run();
  streams[0].send("complete", { answered: 3 }, "c3.end");
  await clock.advance(600_000);
  assert.equal(streams[0].readyState, Source.CLOSED);
  assert.deepEqual([streams.length, polls], [1, []]);
});

test("where more is expected, it goes on after the last result", async () => {
  finished = false;
  updates().run();
  streams[0].send("complete", { answered: 3 }, "c3.end");
  await clock.advance(1000);
  assert.equal(streams.at(-1).url, "/events?cursor=c3");
});

test("where a result was missed, it begins again", async () => {
  missing = (answered) => answered === 3;
  updates().run();
  streams[0].send("complete", { answered: 3 }, "c3.end");
  await clock.advance(1000);
  assert.equal(streams.at(-1).url, "/events?cursor=");
});

test("a stream that has lived its time is no trouble", async () => {
  updates().run();
  streams[0].send("results", { results: ["a"] }, "c1");
  streams[0].fail();
  assert.equal(seen.troubles, 0);
  streams[0].send("results", { results: ["b"] }, "c2");
  streams[0].fail();
  await clock.advance(60_000);
  assert.deepEqual([seen.troubles, polls], [0, []]);
});

test("after three failures in a row it polls from where it was", async () => {
  const one = updates();
  one.run();
  streams[0].send("results", { results: ["a"] }, "c1");
  for (let number = 0; number < 3; number += 1) streams[0].fail();
  await settle();
  assert.equal(one.way, "polling");
  assert.equal(polls[0], "/results?cursor=c1");
  assert.deepEqual(seen.results, ["a", "polled"]);
  assert.equal(seen.troubles, 2);
});

test("a stream that is refused is not tried again at once", async () => {
  updates().run();
  streams[0].fail(Source.CLOSED);
  await settle();
  assert.deepEqual([streams.length, polls[0], seen.troubles], [1, "/results?cursor=", 1]);
});

test("a proxy that holds events back is noticed within two seconds", async () => {
  const one = updates();
  one.run();
  await clock.advance(2000);
  assert.equal(one.way, "polling");
  assert.equal(polls[0], "/results?cursor=");
  assert.deepEqual(seen.results[0], "polled");
});

test("a stream that stays silent is given up, so that it occupies no thread of the server", async () => {
  updates().run();
  await clock.advance(60_000);
  assert.equal(streams.length, 1);
  assert.equal(streams[0].readyState, Source.CLOSED);
});

test("a first event ends the polling, however late it comes", async () => {
  const one = updates();
  one.run();
  await clock.advance(5000);
  streams[0].send("started", {});
  const asked = polls.length;
  await clock.advance(60_000);
  assert.deepEqual([one.way, polls.length, streams.length], ["events", asked, 1]);
});

test("a stream that has started may be quiet for long", async () => {
  updates().run();
  streams[0].send("started", {});
  await clock.advance(60_000);
  assert.deepEqual([polls, streams[0].readyState], [[], 1]);
});

test("polling beside a silent stream ends with the batch, and so does the stream", async () => {
  polls = serve(() => ({ cursor: "p1", more: false, results: ["polled"], complete: true, accepted: 1, answered: 1 }));
  updates().run();
  await clock.advance(60_000);
  assert.equal(polls.length, 1);
  assert.deepEqual([streams.length, streams[0].readyState], [1, Source.CLOSED]);
});

test("where events have come through before, the stream is opened again after a while", async () => {
  const one = updates();
  one.run();
  streams[0].send("results", { results: ["a"] }, "c1");
  streams[0].fail(Source.CLOSED);
  await clock.advance(59_000);
  assert.equal(streams.length, 1);
  await clock.advance(3000);
  assert.equal(streams.length, 2);
  assert.equal(streams[1].url, "/events?cursor=p1");
  const asked = polls.length;
  await clock.advance(60_000);
  assert.equal(polls.length, asked, "it does not poll beside the stream");
  assert.equal(one.way, "events");
});

test("a poll before the first answer asks for the fleet", async () => {
  updates().run();
  streams[0].fail(Source.CLOSED);
  await settle();
  await settle();
  assert.deepEqual(seen.fleet, { booting: 1, running: 0, expected_boot_seconds: 30 });
});

test("a tab that stays hidden closes its stream, and opens it again when it is shown", async () => {
  updates().run();
  streams[0].send("results", { results: ["a"] }, "c1");
  page.setHidden(true);
  await clock.advance(10_000);
  page.setHidden(false);
  await clock.advance(60_000);
  assert.equal(streams.length, 1, "hidden for a moment only");
  page.setHidden(true);
  await clock.advance(30_000);
  assert.equal(streams[0].readyState, Source.CLOSED);
  assert.equal(polls.length > 0, true);
  page.setHidden(false);
  assert.equal(streams.length, 2);
});

test("a deleted batch is followed no more", async () => {
  updates().run();
  streams[0].send("deleted", {});
  page.setHidden(true);
  page.setHidden(false);
  await clock.advance(600_000);
  assert.deepEqual([seen.deleted, streams.length, polls], [true, 1, []]);
});

test("without events in the browser it polls", async () => {
  delete globalThis.EventSource;
  const one = updates();
  one.run();
  await settle();
  assert.deepEqual([one.way, polls[0]], ["polling", "/results?cursor="]);
});

test("the network's return is used at once", async () => {
  updates().run();
  streams[0].fail(Source.CLOSED);
  await clock.advance(100);
  const asked = polls.filter((url) => url.startsWith("/results")).length;
  page.emit("online");
  await settle();
  assert.equal(polls.filter((url) => url.startsWith("/results")).length, asked + 1);
});
