"""Sizes of files and of memory for people."""

from __future__ import annotations

import math

_UNITS = ("bytes", "KiB", "MiB", "GiB")


def format_bytes(count: float) -> str:
    """A size for people, such as ``812 bytes``, ``14.2 KiB``, ``5.7 MiB`` or ``10 MiB``; as in static/sizes.js.

    The units are powers of 1,024, in which the limits are set; tests/js/sizes.json has examples for both functions.
    """
    if count == 1:
        return "1 byte"
    unit = 0
    # What would be rounded to 1,024 is one of the next unit.
    while count >= 1023.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    # Halves are rounded up, as in JavaScript.
    rounded = math.floor(count * 10 + 0.5) / 10 if unit and count < 99.95 else math.floor(count + 0.5)
    return f"{rounded:g} {_UNITS[unit]}"
