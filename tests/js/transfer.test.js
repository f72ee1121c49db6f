import assert from "node:assert/strict";
import { test } from "node:test";

import { Transfer } from "../../static/transfer.js";

test("a steady upload has its speed and its remaining time", () => {
  const transfer = new Transfer();
  const chunk = { bytes: 10_000 };
  transfer.expect(10_000, false);
  for (let second = 0; second <= 4; second += 1) transfer.progress(chunk, 1000 * second, 1000 * second);
  assert.equal(transfer.sentBytes, 4000);
  assert.equal(transfer.speed(4000), 1000);
  assert.equal(transfer.remainingSeconds(4000), 6);
});

test("the speed is unknown in the first second", () => {
  const transfer = new Transfer();
  transfer.expect(1000, false);
  transfer.progress({ bytes: 1000 }, 500, 100);
  assert.equal(transfer.speed(600), 0);
  assert.equal(transfer.remainingSeconds(600), null);
});

test("there is no remaining time while the total is unknown", () => {
  const transfer = new Transfer();
  const chunk = { bytes: 5000 };
  transfer.expect(5000, true);
  transfer.progress(chunk, 0, 0);
  transfer.progress(chunk, 2000, 2000);
  assert.equal(transfer.speed(2000), 1000);
  assert.equal(transfer.remainingSeconds(2000), null);
  transfer.expect(1000, false);
  assert.equal(transfer.remainingSeconds(2000), 4);
});

test("only the last seconds count", () => {
  const transfer = new Transfer();
  const chunk = { bytes: 1_000_000 };
  transfer.expect(1_000_000, false);
  transfer.progress(chunk, 0, 0);
  transfer.progress(chunk, 100_000, 1000);
  transfer.progress(chunk, 101_000, 20_000);
  transfer.progress(chunk, 102_000, 21_000);
  assert.equal(transfer.speed(21_000), 1000);
});

test("what is sent again is not counted twice, and never more than the total", () => {
  const transfer = new Transfer();
  const [first, second] = [{ bytes: 600 }, { bytes: 400 }];
  transfer.expect(1000, false);
  transfer.progress(first, 600, 0);
  transfer.progress(first, 0, 300);
  assert.equal(transfer.sentBytes, 0);
  transfer.progress(first, 5000, 600); // a request has headers, too
  assert.equal(transfer.sentBytes, 600);
  transfer.settle(first, 900);
  transfer.progress(second, 300, 1200);
  assert.equal(transfer.sentBytes, 900);
  transfer.forget(second);
  assert.equal(transfer.sentBytes, 600);
});
