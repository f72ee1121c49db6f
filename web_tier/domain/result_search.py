"""Search in results by their names and labels, like the page's search (static/model.js)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from core.jobs import ClassificationResult


class ResultSearch:
    """Matches results that have every word of a text in their name or label; an empty text matches all.

    Case makes no difference, nor whether accents are characters of their own (NFD, as macOS stores names) or not.

    Args:
        local_name: a label's name in another language, which is searched, too.
    """

    def __init__(
        self, text: str, local_name: Callable[[ClassificationResult], str | None] = lambda _result: None
    ) -> None:
        self._words = _folded(text).split()
        self._local_name = local_name

    def matches(self, result: ClassificationResult) -> bool:
        """Whether a result has all the words."""
        if not self._words:
            return True
        searched = _folded(f"{result.name}\n{result.label or ''}\n{self._local_name(result) or ''}")
        return all(word in searched for word in self._words)


def _folded(text: str) -> str:
    # Upper case, because lower case depends on the position in the word: of Σ there are two.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper())
