import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ResponseTimes } from "../../static/response_times.js";
import { serve } from "./world.js";

let place, times, asked, answer;

beforeEach(() => {
  place = { hidden: true, textContent: "" };
  answer = { sentence: "Answered after 2.1 s" };
  asked = serve(() => answer);
  times = new ResponseTimes(place, "/times");
});

test("the line is shown once all is answered, and asked for once", async () => {
  await times.show(0);
  assert.deepEqual([asked, place.hidden], [[], true]);
  await times.show(3);
  await times.show(3);
  assert.deepEqual([asked, place], [["/times"], { hidden: false, textContent: "Answered after 2.1 s" }]);
});

test("it goes while more is expected, and comes back with the new times", async () => {
  await times.show(3);
  await times.show(0);
  assert.equal(place.hidden, true);
  answer = { sentence: "First answer after 1 s" };
  await times.show(5);
  assert.deepEqual([asked.length, place.textContent], [2, "First answer after 1 s"]);
});

test("where nothing was measured, or no response comes, there is no line", async () => {
  answer = { sentence: "" };
  await times.show(3);
  assert.equal(place.hidden, true);
  answer = null;
  await times.show(4);
  assert.equal(place.hidden, true);
});

test("a response that comes too late is not shown", async () => {
  const first = times.show(3);
  const second = times.show(0);
  await Promise.all([first, second]);
  assert.equal(place.hidden, true);
});
