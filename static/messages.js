// The page's messages in its language; English text is the key, and the fallback.

// On pages that have none, and in tests without a page, all messages are English.
const found = globalThis.document?.getElementById("messages");
const { messages = {}, plural = "" } = JSON.parse(found?.textContent || "{}");

// The page's language, for the browser's own formats.
export const language = globalThis.document?.documentElement.lang || "en";

// A message with its placeholders, such as %(count)s, filled with `values`.
export function gettext(message, values = {}) {
  return fill(messages[message] ?? message, values);
}

// The message for a count: in English `one` for 1, else `many`.
export function ngettext(one, many, count, values = {}) {
  const forms = messages[one];
  if (!forms) return fill(count === 1 ? one : many, values);
  // The forms are listed for counts below 200; they repeat by the hundred.
  return fill(forms[plural[count < plural.length ? count : 100 + (count % 100)]], values);
}

function fill(message, values) {
  return message.replaceAll(/%(?:\((\w+)\)s|%)/g, (_match, name) => (name ? values[name] : "%"));
}
