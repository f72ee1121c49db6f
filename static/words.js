// Labels, groups and scores in plain words; the same as web_tier/domain/label_groups.py and templates/_frame.html.

export function percent(score) {
  return `${Math.round(score * 100)}\u00a0%`;
}

// A group with "a" or "an"; no group's name begins with a vowel that sounds like a consonant.
export function withArticle(group) {
  return `${/^[aeiou]/.test(group) ? "an" : "a"} ${group}`;
}

// A label with its group, "tabby, a cat"; the label alone if it has none, or names it as "Egyptian cat" does.
export function inPlainWords({ label, group }) {
  return group && !label.toLowerCase().includes(group) ? `${label}, ${withArticle(group)}` : label;
}

// The answer for a file with a label: the label with its group, or in doubt the group of several labels, or else the
// label alone.
export function answerOf({ state, label, group, top }) {
  if (group) return `${withArticle(group.name)} (unsure which)`;
  return state === "classified" ? inPlainWords({ label, group: top[0]?.group }) : label;
}

// Which labels an unsure model hesitates between.
export function doubtOf({ label, score, group, top }) {
  const first = group ? `perhaps ${label}, ${percent(score)}` : "unsure";
  return top.length > 1 ? `${first}; or ${top[1].label}, ${percent(top[1].score)}` : first;
}
