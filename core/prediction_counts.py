"""Counts of a model's predictions by label and by score, for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.versioned_json import Count

# Scores of the best label, in tenths.
CONFIDENCE_BINS = 10


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """The number of answers with each label, and with a score in each tenth from 0 to 1."""

    labels: Mapping[str, Count] = field(default_factory=dict)
    confidence: tuple[Count, ...] = (0,) * CONFIDENCE_BINS

    def check(self) -> None:
        """Check decoded counts.

        Raises:
            ValueError: there are not `CONFIDENCE_BINS` counts of scores.
        """
        if len(self.confidence) != CONFIDENCE_BINS:
            raise ValueError(f"{CONFIDENCE_BINS} counts of scores expected")

    @property
    def total(self) -> int:
        """The number of answers."""
        return sum(self.confidence)

    def plus(self, other: AnswerCounts) -> AnswerCounts:
        """The sum of both counts."""
        added = zip(self.confidence, other.confidence, strict=True)
        return AnswerCounts(dict(Counter(self.labels) + Counter(other.labels)), tuple(a + b for a, b in added))

    def __sub__(self, other: AnswerCounts) -> AnswerCounts:
        """The increase since `other`, an earlier count of the same; never negative."""
        taken = zip(self.confidence, other.confidence, strict=True)
        return AnswerCounts(dict(Counter(self.labels) - Counter(other.labels)), tuple(max(0, a - b) for a, b in taken))

    def __or__(self, other: AnswerCounts) -> AnswerCounts:
        """The larger of each pair of counts: the later of two counts of the same."""
        larger = map(max, self.confidence, other.confidence)
        return AnswerCounts(dict(Counter(self.labels) | Counter(other.labels)), tuple(larger))


NO_ANSWERS = AnswerCounts()
