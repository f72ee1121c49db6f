import assert from "node:assert/strict";
import { test } from "node:test";

process.env.TZ = "Europe/Berlin";
const { localTimes, time } = await import("../../static/times.js");
const SUMMER = Date.UTC(2026, 6, 1, 21, 5, 9) / 1000;

test("moments are shown in the time zone of the machine, with 24 hours", () => {
  assert.match(time("clock", SUMMER), /^23:05:09$/);
  assert.match(time("minute", SUMMER), /^23:05$/);
  assert.match(time("day", SUMMER), /23:05/);
});

test("midnight is 00 and not 24", () => {
  assert.equal(time("minute", Date.UTC(2026, 6, 1, 22, 0, 0) / 1000), "00:00");
});

test("the page's times are rewritten, each in its kind; what is no time stays", () => {
  const element = (kind, dateTime) => ({ dataset: { kind }, dateTime, textContent: "as served" });
  const elements = [element("clock", "2026-07-01T21:05:09Z"), element("minute", ""), element("minute", "soon")];
  localTimes({ querySelectorAll: () => elements });
  assert.deepEqual(elements.map((one) => one.textContent), ["23:05:09", "as served", "as served"]);
});
