// Messages of a page in another language: placeholders, plural forms, and the fallback to English.

import assert from "node:assert/strict";
import { test } from "node:test";

// Of 0 to 199: a language with three forms, one of them for 2, 102 and so on.
const plural = Array.from({ length: 200 }, (_value, count) => (count === 1 ? 0 : count % 100 === 2 ? 1 : 2)).join("");
const messages = {
  "%(count)s of %(total)s": "%(total)s, davon %(count)s",
  "%(number)s\u00a0%%": "%(number)s%%",
  "%(count)s file": ["eins", "zwei", "%(count)s Dateien"],
};
globalThis.document = {
  getElementById: (id) => (id === "messages" ? { textContent: JSON.stringify({ plural, messages }) } : null),
  documentElement: { lang: "de" },
};
const { gettext, language, ngettext } = await import("../../static/messages.js");

test("placeholders are filled wherever a translation has them", () => {
  assert.equal(gettext("%(count)s of %(total)s", { count: 3, total: 7 }), "7, davon 3");
  assert.equal(gettext("%(number)s\u00a0%%", { number: 5 }), "5%");
  assert.equal(language, "de");
});

test("the plural form is that of the count, also above the table", () => {
  const file = (count) => ngettext("%(count)s file", "%(count)s files", count, { count });
  assert.deepEqual([0, 1, 2, 3, 102, 1202, 1201].map(file), ["0 Dateien", "eins", "zwei", "3 Dateien", "zwei", "zwei", "1201 Dateien"]);
});

test("what has no translation is English", () => {
  assert.equal(gettext("%(count)s left", { count: 2 }), "2 left");
  assert.equal(ngettext("%(count)s photo", "%(count)s photos", 1, { count: 1 }), "1 photo");
  assert.equal(ngettext("%(count)s photo", "%(count)s photos", 2, { count: 2 }), "2 photos");
});
