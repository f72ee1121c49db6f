import assert from "node:assert/strict";
import { test } from "node:test";

import { Notices } from "../../static/notices.js";

test("notices stand side by side, and each goes with its reason", () => {
  const place = { hidden: true, textContent: "" };
  const notices = new Notices(place);
  notices.set("large", "1 is larger than 10 MiB and will be refused.");
  notices.set("left", "5 more were skipped.");
  assert.deepEqual(place, { hidden: false, textContent: "1 is larger than 10 MiB and will be refused. 5 more were skipped." });
  notices.set("large", "2 are larger than 10 MiB and will be refused.");
  notices.clear("left");
  notices.clear("unknown");
  assert.deepEqual(place, { hidden: false, textContent: "2 are larger than 10 MiB and will be refused." });
  notices.clear("large");
  assert.deepEqual(place, { hidden: true, textContent: "" });
});
