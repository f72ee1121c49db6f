// Numbers, durations and amounts for people; the same as web_tier/languages/formats.py.

import { gettext, language } from "./messages.js";

const numbers = new Intl.NumberFormat(language);

export function show(value) {
  return numbers.format(value);
}

// Without groups of digits.
export function plain(value) {
  return value.toLocaleString(language, { useGrouping: false });
}

export function fixed(value, digits = 1) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// A time in whole seconds.
export function seconds(value) {
  return gettext("%(number)s\u00a0s", { number: fixed(value, 0) });
}

// A duration in its largest unit.
export function duration(value) {
  if (value < 120) return seconds(value);
  if (value < 7200) return gettext("%(number)s\u00a0min", { number: fixed(value / 60, 0) });
  return gettext("%(number)s\u00a0h", { number: fixed(value / 3600) });
}

// An amount in US dollars, with about three digits; a dash where it is not known.
export function money(usd) {
  if (usd === null) return "–";
  const digits = usd < 0.1 ? 4 : usd < 1 ? 3 : 2;
  const options = { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return usd.toLocaleString(language, options);
}
