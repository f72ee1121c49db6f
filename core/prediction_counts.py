"""Counts of answers, for watching a model at work: which labels, and how sure of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.versioned_json import Count

# Scores of the best label, in tenths.
CONFIDENCE_BINS = 10


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How many answers had each label, and how many had a score of each tenth from 0 to 1."""

    labels: Mapping[str, Count] = field(default_factory=dict)
    confidence: tuple[Count, ...] = (0,) * CONFIDENCE_BINS

    def check(self) -> None:
        """Checks a decoded one.

        Raises:
            ValueError: the scores are counted in another number of parts.
        """
        if len(self.confidence) != CONFIDENCE_BINS:
            raise ValueError(f"{CONFIDENCE_BINS} counts of scores expected")

    @property
    def total(self) -> int:
        """All answers."""
        return sum(self.confidence)

    def plus(self, other: AnswerCounts) -> AnswerCounts:
        """Both together."""
        added = zip(self.confidence, other.confidence, strict=True)
        return AnswerCounts(dict(Counter(self.labels) + Counter(other.labels)), tuple(a + b for a, b in added))

    def __sub__(self, other: AnswerCounts) -> AnswerCounts:
        """What came since `other`, an earlier count of the same; never less than nothing."""
        taken = zip(self.confidence, other.confidence, strict=True)
        return AnswerCounts(dict(Counter(self.labels) - Counter(other.labels)), tuple(max(0, a - b) for a, b in taken))

    def __or__(self, other: AnswerCounts) -> AnswerCounts:
        """The larger of each two counts: the later of two counts of the same."""
        larger = map(max, self.confidence, other.confidence)
        return AnswerCounts(dict(Counter(self.labels) | Counter(other.labels)), tuple(larger))


NO_ANSWERS = AnswerCounts()
