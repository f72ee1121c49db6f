"""Counts of answers, for watching a model at work: which labels, and how sure of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# Scores of the best label, in tenths.
CONFIDENCE_BINS = 10


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How many answers had each label, and how many had a score of each tenth from 0 to 1."""

    labels: Mapping[str, int] = field(default_factory=dict)
    confidence: tuple[int, ...] = (0,) * CONFIDENCE_BINS

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

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> AnswerCounts:
        """From the fields of an encoded one.

        Raises:
            ValueError, TypeError, KeyError: they are none.
        """
        labels, confidence = fields["labels"], fields["confidence"]
        if not isinstance(labels, dict) or not isinstance(confidence, list) or len(confidence) != CONFIDENCE_BINS:
            raise ValueError("not counts of answers")
        return cls({str(k): int(v) for k, v in labels.items()}, tuple(int(v) for v in confidence))


NO_ANSWERS = AnswerCounts()
