"""What earlier decisions saw and recommended, and what that says about arrivals.  Pure.

SQS has no count of arrivals, but what has arrived is what is left (the queue's counts) plus what is done (the workers'
counts).  Both are late, each in its own way: SQS's by up to a minute, the workers' by up to the time between two of
their reports.  So rates are taken over long stretches, and small differences prove nothing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

# Arrivals count as load if both halves of this window had them: what comes at once is backlog, not load.  Halves are
# longer than the time between two reports of a worker.
LOAD_WINDOW_SECONDS = 60.0
# How finely the past is kept: so many samples at most, whatever the time between decisions.
SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What an earlier decision saw and recommended, at a time (monotonic seconds).

    Attributes:
        size: the instances that backlog and load asked for, before any window was considered.
        backlog: the images that were left.
        done: how many had been answered, from an arbitrary start.
        unreported: how many more the busy workers may have answered since their last report.
        answered: the workers' counter, None where unknown.
        until: when the next decision was made; the recommendation held until then.
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
        """How many images had arrived, from an arbitrary start."""
        return self.backlog + self.done


History = tuple[Recommendation, ...]


def followed_by(history: History, latest: Recommendation) -> History:
    """The history with one more."""
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
    """Drops what no decision will ask for: what is too old, and what is neither needed as a sample nor rules a window.

    A recommendation rules as long as no later one is as high.  The last one before the time kept stays, too: it says
    what had arrived until then.
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
