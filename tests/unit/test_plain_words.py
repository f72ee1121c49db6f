"""The code, the documentation and the pages use the words of docs/reference/glossary.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import REPOSITORY_ROOT

ROOTS = (
    "README.md",
    "CONTRIBUTING.md",
    "ami",
    "api_client",
    "app_tier",
    "aws",
    "benchmarks",
    "chaos",
    "cli",
    "controller",
    "core",
    "docs",
    "evaluation",
    "infra",
    "local_cloud",
    "models",
    "simulation",
    "static",
    "templates",
    "tests",
    "training",
    "web_tier",
)
SUFFIXES = frozenset((".css", ".html", ".js", ".md", ".py", ".sh", ".toml", ".yaml"))
# The glossary lists the words; this test contains them.
EXCLUDED = frozenset(("docs/reference/glossary.md", "tests/unit/test_plain_words.py"))
# Not `file.tell()`.
AVOIDED = re.compile(r"(?<!\.)\b(?:tell|tells|telling|told|nobody|whoever|somebody)\b", re.IGNORECASE)


def files_below(root: Path) -> Iterator[Path]:
    candidates = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in candidates:
        relative = path.relative_to(REPOSITORY_ROOT).as_posix()
        if path.is_file() and path.suffix in SUFFIXES and relative not in EXCLUDED:
            yield path


def avoided_words(text: str) -> list[tuple[int, str]]:
    """Return the line number and the word of each match."""
    return [
        (number, match.group()) for number, line in enumerate(text.splitlines(), 1) for match in AVOIDED.finditer(line)
    ]


@pytest.mark.parametrize("root", ROOTS)
def test_avoided_words_do_not_occur(root: str) -> None:
    files = list(files_below(REPOSITORY_ROOT / root))
    assert files, f"{root} has no files to check"
    found = [
        f"{path.relative_to(REPOSITORY_ROOT)}:{number}: {word}"
        for path in files
        for number, word in avoided_words(path.read_text("utf-8"))
    ]
    assert not found, "docs/reference/glossary.md lists better words for:\n" + "\n".join(found)


@pytest.mark.parametrize("word", ["Tell", "tells", "telling", "told", "Nobody", "whoever", "somebody"])
def test_a_word_is_found_wherever_it_stands_alone(word: str) -> None:
    assert avoided_words(f"first line\nsecond, {word}.") == [(2, word)]


@pytest.mark.parametrize("text", ["EIC_STRANGER_REQUESTS", "test_nobody_sees_another_batch", "intellect", "teller"])
def test_other_words_that_contain_one_are_allowed(text: str) -> None:
    assert avoided_words(text) == []
