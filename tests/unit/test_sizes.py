"""Sizes: one spelling, on pages, in messages, on the command line and in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.paths import REPOSITORY_ROOT
from core.sizes import format_bytes
from tests.unit.test_plain_words import ROOTS, files_below

EXAMPLES = json.loads((REPOSITORY_ROOT / "tests" / "js" / "sizes.json").read_text())
# The units that `format_bytes` does not write.  "MB" may mean 1,000,000 or 1,048,576 bytes.
OTHER_UNITS = re.compile(r"(?<![-\w])[kKMG]B\b|\b\d+[kKMG]B\b")
# A value formatted in place, without `format_bytes` and `formatBytes`.
FORMATTED_IN_PLACE = re.compile(r"\}\s?[KMG]iB\b")
EXCLUDED = {
    "docs/reference/costs.md": "AWS's price list counts in GB",
    "core/prices.toml": "AWS's price list counts in GB",
    "docs/adr": "records of their time",
    "tests/unit/test_sizes.py": "has the units",
}


def findings(pattern: re.Pattern[str], text: str) -> list[tuple[int, str]]:
    """The number of each line in which the pattern occurs, and the line."""
    lines = enumerate(text.splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if pattern.search(line)]


def is_excluded(path: Path) -> bool:
    relative = path.relative_to(REPOSITORY_ROOT).as_posix()
    return any(relative == excluded or relative.startswith(f"{excluded}/") for excluded in EXCLUDED)


@pytest.mark.parametrize(("count", "text"), EXAMPLES)
def test_sizes_are_written_in_powers_of_1024(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize("root", ROOTS)
def test_no_other_unit_and_no_other_formatting_occurs(root: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY_ROOT)}:{number}: {line}"
        for path in files_below(REPOSITORY_ROOT / root)
        if not is_excluded(path)
        for pattern in (OTHER_UNITS, FORMATTED_IN_PLACE)
        for number, line in findings(pattern, path.read_text("utf-8"))
    ]
    assert not found, "core/sizes.py and static/sizes.js format sizes, in MiB:\n" + "\n".join(found)


@pytest.mark.parametrize("line", ["24 MB", "97 kB", "10MB", "| MB |", "`${Math.round(count / 1024)} KB`", "a GB."])
def test_another_unit_is_found(line: str) -> None:
    assert findings(OTHER_UNITS, line)


@pytest.mark.parametrize("line", ["up to 10 MiB", "en-GB", "rgb", "DUMB"])
def test_other_words_are_allowed(line: str) -> None:
    assert not findings(OTHER_UNITS, line)


@pytest.mark.parametrize("line", ['f"{count / 2**20:.4g} MiB"', "`${size}KiB`"])
def test_formatting_in_place_is_found(line: str) -> None:
    assert findings(FORMATTED_IN_PLACE, line)
