"""Decide whether a quantity that was sampled over time grows: a robust trend after a warm-up.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

# Caches fill and pools open their connections in this share of the time, and in these seconds at least.
WARM_UP_SHARE = 0.25
WARM_UP_SECONDS = 600.0
MIN_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The most growth over the measured time: so much, or that share of the median, whichever is more."""

    absolute: float
    share: float = 0.05

    def limit(self, median: float) -> float:
        """The limit for a quantity with this median."""
        return max(self.absolute, self.share * median)


@dataclass(frozen=True, slots=True)
class Trend:
    """The trend of one quantity after the warm-up.

    Attributes:
        median: of the samples.
        growth: by the trend, from the end of the warm-up to the last sample.
        limit: the most growth that counts as flat.
        per_hour: the growth of an hour.
    """

    median: float
    growth: float
    limit: float
    per_hour: float

    @property
    def is_flat(self) -> bool:
        """Whether the quantity does not grow."""
        return self.growth <= self.limit


def trend(samples: Sequence[tuple[float, float]], tolerance: Tolerance) -> Trend | None:
    """The trend of samples of (seconds, value), by time; None if there are fewer than `MIN_SAMPLES` after the warm-up.

    The slope is the median of those between any two samples (Theil and Sen), which a few outliers, such as a process
    that was just started, do not move.
    """
    if not samples:
        return None
    first, last = samples[0][0], samples[-1][0]
    warm_at = first + max(WARM_UP_SECONDS, WARM_UP_SHARE * (last - first))
    steady = [sample for sample in samples if sample[0] >= warm_at]
    if len(steady) < MIN_SAMPLES:
        return None
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(steady, 2) if b[0] > a[0])
    median = statistics.median(value for _seconds, value in steady)
    seconds = steady[-1][0] - steady[0][0]
    return Trend(median, slope * seconds, tolerance.limit(median), slope * 3600)
