"""The messages of the page's scripts, as the JSON text that pages carry for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.languages import ENGLISH

FILE = "scripts.json"
# The plural form is named for each count below this; in all languages it repeats by the hundred from there.
_COUNTS = 200


def text_of(language: str, folder: Path) -> str:
    """The JSON text for a language, safe within a page's ``script`` element; ``{}`` for English."""
    return "{}" if language == ENGLISH else _read(folder / language / FILE)


@cache
def _read(path: Path) -> str:
    return path.read_text("utf-8").strip()


def encode(messages: Mapping[str, str | list[str]], plural: Callable[[int], int]) -> str:
    """The text of `FILE`: messages by their English text, and the plural form of each count.

    Args:
        messages: several texts for a message with plural forms.
        plural: the number of the form for a count.
    """
    forms = "".join(str(plural(count)) for count in range(_COUNTS))
    content: dict[str, Any] = {"plural": forms, "messages": dict(sorted(messages.items()))}
    # "<" could end the element that the text is in.
    return json.dumps(content, ensure_ascii=False, indent=0).replace("<", "\\u003c") + "\n"
