// Formats times in the browser's locale and time zone; the server writes UTC.

import { language } from "./messages.js";

// The page's language as the browser's user writes it, British or American English for example.
const locale = globalThis.navigator?.languages?.find((own) => own.split("-")[0] === language.split("-")[0]) ?? language;

const formats = {
  day: new Intl.DateTimeFormat(locale, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  clock: new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
  minute: new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
};

// kind: "day", "clock" or "minute"; seconds since the epoch.
export function time(kind, seconds) {
  return formats[kind].format(seconds * 1000);
}

// Rewrites the page's <time data-kind="…">.
export function localTimes(root = document) {
  for (const element of root.querySelectorAll("time[data-kind]")) {
    const moment = Date.parse(element.dateTime);
    if (moment) element.textContent = time(element.dataset.kind, moment / 1000);
  }
}
