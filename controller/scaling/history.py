"""The history of scaling decisions, and the rate of arrivals computed from it.  Pure.

SQS does not count arrivals.  The images that have arrived are those in the backlog (the queue's counts) plus those
answered (the workers' counts).  Both counts are late: SQS's by up to a minute, the workers' by up to the time between
two of their heartbeats.  So rates are computed over long periods, and small differences are ignored.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

# Arrivals count as load if they came in both halves of this window: a single upload is backlog, not load.  Each half is
# longer than the time between two heartbeats of a worker.
LOAD_WINDOW_SECONDS = 60.0
# The history keeps this many evenly spaced samples at most, whatever the time between decisions.
SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The observation and the recommendation of an earlier decision.

    Attributes:
        at: when it was made, monotonic seconds.
        size: the number of instances needed for backlog and load, before the stabilization window was considered.
        backlog: the images that were not answered.
        done: the images that had been answered, counted from an arbitrary start.
        unreported: how many more the busy workers may have answered since their last heartbeats.
        answered: the workers' counter, None where unknown.
        until: when the next decision replaced this recommendation, monotonic seconds.
    """

    at: float
    size: int
    backlog: int = 0
    done: float = 0.0
    unreported: float = 0.0
    answered: int | None = None
    until: float = math.inf

    @property
    def arrived(self) -> float:
        """The images that had arrived, counted from an arbitrary start."""
        return self.backlog + self.done


History = tuple[Recommendation, ...]


def followed_by(history: History, latest: Recommendation) -> History:
    """The history with one more recommendation."""
    return (*history[:-1], dataclasses.replace(history[-1], until=latest.at), latest) if history else (latest,)


def sustained_arrivals(history: History) -> float:
    """Images a second that keep arriving: the lower rate of the two halves of the load window, 0 while unknown."""
    if not history:
        return 0.0
    end = history[-1]
    middle, start = (_last_before(history, end.at - LOAD_WINDOW_SECONDS * part) for part in (0.5, 1.0))
    if start is None or middle is None or not start.at < middle.at < end.at:
        return 0.0
    rates = ((b.arrived - a.arrived) / (b.at - a.at) for a, b in ((start, middle), (middle, end)))
    return max(0.0, min(rates))


def arrived_since(history: History, then: float) -> bool:
    """Whether images certainly arrived after `then`."""
    arrived = history[-1].arrived
    return any(arrived - past.arrived - past.unreported >= 0.5 for past in history if past.at >= then)


def highest_since(history: History, then: float) -> int:
    """The highest recommendation that held after `then`."""
    return max(past.size for past in history if past.until > then)


def thinned(history: History, keep_seconds: float) -> History:
    """Drop the recommendations that no later decision uses.

    Three kinds are kept: those that are the highest of a window that ends now, since no later one is as high; evenly
    spaced samples; and the last one older than `keep_seconds`, whose counts are the start of the time kept.
    """
    now = history[-1].at
    first = max((i for i, past in enumerate(history) if past.at <= now - keep_seconds), default=0)
    highest, ruling = -1, set()
    for i in range(len(history) - 1, first - 1, -1):
        if history[i].size > highest:
            highest = history[i].size
            ruling.add(i)
    kept = [history[first]]
    for i in range(first + 1, len(history)):
        # The last one is in `ruling`.
        if i in ruling or history[i].at - kept[-1].at >= keep_seconds / SAMPLES:
            kept.append(history[i])
    return tuple(kept)


def _last_before(history: History, then: float) -> Recommendation | None:
    return next((past for past in reversed(history) if past.at <= then), None)
