// Labels, groups and scores in plain words; the same as web_tier/languages/labels.py and templates/_frame.html.

import { show } from "./formats.js";
import { gettext } from "./messages.js";

export function percent(score) {
  return gettext("%(number)s\u00a0%%", { number: show(Math.round(score * 100)) });
}

// A group with "a" or "an"; no group's name begins with a vowel that sounds like a consonant.
export function withArticle(group) {
  return `${/^[aeiou]/.test(group) ? "an" : "a"} ${group}`;
}

// A group with its article, in the page's language.
export function groupName(group) {
  return gettext(withArticle(group));
}

// A group within quotation marks: without its article in English.
export function groupTitle(group) {
  const named = groupName(group);
  return named === withArticle(group) ? group : named;
}

// A label's name in the page's language; the label itself where it has none.
export function labelOf({ label, labelLocal }) {
  return labelLocal || label;
}

// A label with its group, "tabby, a cat"; the label alone if it has none, or names it as "Egyptian cat" does.
export function inPlainWords({ label, labelLocal, group }) {
  const shown = labelOf({ label, labelLocal });
  if (!group || (!labelLocal && label.toLowerCase().includes(group))) return shown;
  const named = groupName(group);
  // Without the article, where there is one.
  const bare = named.slice(named.indexOf(" ") + 1).toLowerCase();
  return shown.toLowerCase().includes(bare) ? shown : gettext("%(label)s, %(group)s", { label: shown, group: named });
}

// The answer for a file with a label: the label with its group, or in doubt the group of several labels, or else the
// label alone.
export function answerOf({ state, label, labelLocal, group, top }) {
  if (group) return gettext("%(group)s (unsure which)", { group: groupName(group.name) });
  if (state === "classified") return inPlainWords({ label, labelLocal, group: top[0]?.group });
  return labelOf({ label, labelLocal });
}

// Which labels an unsure model hesitates between.
export function doubtOf({ label, labelLocal, score, group, top }) {
  const likeliest = { label: labelOf({ label, labelLocal }), score: percent(score) };
  const doubt = group ? gettext("perhaps %(label)s, %(score)s", likeliest) : gettext("unsure");
  if (top.length < 2) return doubt;
  const next = { label: labelOf({ label: top[1].label, labelLocal: top[1].label_local }), score: percent(top[1].score) };
  return gettext("%(doubt)s; or %(label)s, %(score)s", { doubt, ...next });
}
