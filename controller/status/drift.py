"""Prediction drift: the population stability index (PSI) of recent answers against a reference.  Pure.

``PSI = sum((r - e) * ln(r / e))`` over the shares e of the reference and r of the recent answers in each of B bins
(N. Siddiqi, *Credit Risk Scorecards*, 2006; the symmetrised Kullback-Leibler divergence).  Siddiqi's rule of thumb
calls more than 0.25 a shift.  Few answers or many bins exceed that by chance: for N and M answers from one
distribution, PSI is about (1/N + 1/M) times a chi-squared variable of B - 1 degrees of freedom (B. Yurdakul and
J. Naranjo, *Statistical properties of the population stability index*, Journal of Risk Model Validation 14(4), 2020).
Only a PSI above both bounds is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.prediction_counts import CONFIDENCE_BINS, NO_ANSWERS, AnswerCounts

# The first answers of a model are the reference for the later ones.
REFERENCE_IMAGES = 1000
# The number of latest answers that are compared, and the least for a comparison to mean anything.
RECENT_IMAGES = 500
LEAST_RECENT_IMAGES = 100
SHIFT = 0.25
# The standard normal's 99.9 % quantile.
_Z = 3.0902
# Labels that are rarer in the reference share one bin: a PSI over many nearly empty bins is noise.
_RARE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Comparison:
    """A PSI, and the bound above which it counts as a shift."""

    psi: float
    bound: float

    @property
    def is_shift(self) -> bool:
        """Whether the distributions differ."""
        return self.psi > self.bound


@dataclass(frozen=True, slots=True)
class Watched:
    """A model's answers: the reference, which is fixed once it is complete, and the latest ones in chunks."""

    reference: AnswerCounts = NO_ANSWERS
    recent: tuple[AnswerCounts, ...] = ()

    def with_more(self, counts: AnswerCounts) -> Watched:
        """Return a copy with further answers."""
        if not counts.total:
            return self
        if self.reference.total < REFERENCE_IMAGES:
            return Watched(self.reference.plus(counts))
        recent = [*self.recent, counts]
        while sum(chunk.total for chunk in recent[1:]) >= RECENT_IMAGES:
            del recent[0]
        return Watched(self.reference, tuple(recent))

    @property
    def latest(self) -> AnswerCounts:
        """The latest answers together."""
        total = AnswerCounts()
        for chunk in self.recent:
            total = total.plus(chunk)
        return total


def compare(reference: Sequence[float], recent: Sequence[float]) -> Comparison:
    """Compute the PSI of two lists of counts by bin.  Half an answer is added to each bin, so that no share is 0."""
    bins = len(reference)
    of_reference, of_recent = sum(reference) + bins / 2, sum(recent) + bins / 2
    psi = 0.0
    for before, after in zip(reference, recent, strict=True):
        expected, found = (before + 0.5) / of_reference, (after + 0.5) / of_recent
        psi += (found - expected) * math.log(found / expected)
    chance = (1 / max(sum(reference), 1) + 1 / max(sum(recent), 1)) * _chi_squared_quantile(max(bins - 1, 1))
    return Comparison(psi, max(SHIFT, chance))


def compare_labels(reference: Mapping[str, int], recent: Mapping[str, int]) -> Comparison:
    """Compute the PSI over labels, with rare labels in one bin."""
    total = sum(reference.values())
    frequent = sorted(label for label, count in reference.items() if count >= _RARE_SHARE * total)

    def row(counts: Mapping[str, int]) -> list[float]:
        named = [float(counts.get(label, 0)) for label in frequent]
        return [*named, sum(counts.values()) - sum(named)]

    return compare(row(reference), row(recent))


def sentence(model: str, watched: Watched) -> str:
    """Describe a shift in a sentence for operators; empty without a shift, or with too few answers."""
    recent = watched.latest
    if watched.reference.total < REFERENCE_IMAGES or recent.total < LEAST_RECENT_IMAGES:
        return ""
    shifts = []
    labels = compare_labels(watched.reference.labels, recent.labels)
    if labels.is_shift:
        shifts.append(f"other labels ({_most_changed(watched.reference, recent)}; PSI {labels.psi:.2f})")
    confidence = compare(watched.reference.confidence, recent.confidence)
    if confidence.is_shift:
        before, after = _mean_confidence(watched.reference), _mean_confidence(recent)
        shifts.append(f"other scores (mean {after:.2f} instead of {before:.2f}; PSI {confidence.psi:.2f})")
    if not shifts:
        return ""
    return f"the last {recent.total:,} answers of {model} differ from its first {watched.reference.total:,}: " + (
        " and ".join(shifts)
    )


def _most_changed(reference: AnswerCounts, recent: AnswerCounts) -> str:
    def share(counts: AnswerCounts, label: str) -> float:
        return counts.labels.get(label, 0) / counts.total

    labels = sorted({*reference.labels, *recent.labels})
    label = max(labels, key=lambda one: abs(share(recent, one) - share(reference, one)))
    return f"{label} {share(recent, label):.0%} instead of {share(reference, label):.0%}"


def _mean_confidence(counts: AnswerCounts) -> float:
    return sum((index + 0.5) * count for index, count in enumerate(counts.confidence)) / CONFIDENCE_BINS / counts.total


def _chi_squared_quantile(degrees: int) -> float:
    """The 99.9 % quantile, after Wilson and Hilferty (1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + _Z * math.sqrt(spread)) ** 3
