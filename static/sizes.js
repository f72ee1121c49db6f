// Sizes of files for people; the same as core/sizes.py.

import { plain } from "./formats.js";
import { gettext } from "./messages.js";

const UNITS = ["bytes", "KiB", "MiB", "GiB"];

// Such as "812 bytes", "14.2 KiB", "5.7 MiB" or "10 MiB".  The units are powers of 1,024, in which the limits are set;
// tests/js/sizes.json has examples for both functions.
export function formatBytes(count) {
  if (count === 1) return gettext("%(number)s byte", { number: plain(count) });
  let unit = 0;
  // What would be rounded to 1,024 is one of the next unit.
  while (count >= 1023.5 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  const rounded = unit && count < 99.95 ? Math.round(count * 10) / 10 : Math.round(count);
  return unit ? `${plain(rounded)} ${UNITS[unit]}` : gettext("%(number)s bytes", { number: plain(rounded) });
}
