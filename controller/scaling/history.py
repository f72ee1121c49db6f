"""The history of scaling decisions, and the arrivals counted from it.  Pure.

SQS does not count arrivals.  What has arrived is in the backlog (the queue's counts) or answered (the workers' counts),
and both counts are late: SQS's by up to a minute, the workers' by up to the time between two of their heartbeats.  So
the sum of the two falls when a backlog turns into answers that are not reported yet, and rises again with the reports.

Here arrivals are counted from below.  At no time is `arrived` more than what has arrived:

* all that was reported as answered has arrived;
* a count of the backlog, plus what was reported as answered before that count can have been taken, has arrived;
* what has arrived once has arrived: `arrived` is the highest of these sums so far, so that a late report adds nothing
  that was counted before.

An arrival may be counted late, but none is counted that has not happened, and none is counted twice.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass

# Arrivals count as load if they came in three quarters of this window: a single upload is backlog, not load, however
# many looks at the queue it takes to see all of it.
LOAD_WINDOW_SECONDS = 60.0
# A count of the backlog that differs from the one before was taken at most so long ago.
COUNT_LAG_SECONDS = 5.0
# After so many times the time between two heartbeats of a worker, its answers are in a heartbeat that was listed.
REPORT_DELAY = 1.75
# SQS's counts are consistent a minute after the last change, by the API reference of GetQueueAttributes.
FROZEN_COUNT_SECONDS = 60.0
# The history keeps this many evenly spaced samples of all its time at most, and as many of the last two load windows.
SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The observation and the recommendation of an earlier decision.

    Attributes:
        at: when it was made, monotonic seconds.
        size: the number of instances needed for backlog and load, before the stabilization window was considered.
        backlog: the images that were not answered, as the queue counted them.
        answered: the workers' counter of the images that they report as answered.
        done: the sum of its increases since the start of the history.
        counted_at: since when the queue's count had been the same, monotonic seconds.
        arrived: the images that had certainly arrived, counted from the same start as `done`.
        at_most: the most that may have arrived, by the same counts.
        confirmed_at: more images had certainly arrived than may have by this time, monotonic seconds.
        reached_at: when the counts last allowed for as many as `arrived`, monotonic seconds.
        loaded_at: since when images had been arriving all the time, monotonic seconds; infinity without load.
        until: when the next decision replaced this recommendation, monotonic seconds.
        visible: the part of `backlog` that waited, as the queue counted it.
        outdated_until: until when these counts are ignored, since the workers have shown that they are outdated, unless
            they rise; monotonic seconds.
    """

    at: float
    size: int
    backlog: int = 0
    answered: int = 0
    done: float = 0.0
    counted_at: float = -math.inf
    arrived: float = 0.0
    at_most: float = 0.0
    confirmed_at: float = -math.inf
    reached_at: float = -math.inf
    loaded_at: float = math.inf
    until: float = math.inf
    visible: int = 0
    outdated_until: float = -math.inf

    @property
    def is_outdated(self) -> bool:
        """Whether all jobs of these counts are known to be answered."""
        return self.at < self.outdated_until


History = tuple[Recommendation, ...]


def first_sample(at: float, size: int, backlog: int, answered: int, unreported: float = 0.0) -> Recommendation:
    """The first entry of a history, from which arrivals and answers are counted; see `next_sample`."""
    return Recommendation(
        at, size, backlog, answered, counted_at=at, arrived=backlog, at_most=backlog + unreported, reached_at=at
    )


def next_sample(
    history: History, at: float, backlog: int, answered: int, unreported: float, report_seconds: float
) -> Recommendation:
    """The entry for an observation, without its recommended size.

    Args:
        answered: the workers' counter; one that starts anew adds nothing.
        unreported: how many more the busy workers may have answered since their last heartbeats.
        report_seconds: the time between two heartbeats of a worker.
    """
    if not history:
        return first_sample(at, 0, backlog, answered, unreported)
    last = history[-1]
    done = last.done + max(0, answered - last.answered)
    counted_at = last.counted_at if backlog == last.backlog else at
    counted = max(done, backlog + _done_by(history, counted_at - COUNT_LAG_SECONDS))
    arrived, reached_at = last.arrived, last.reached_at
    at_most = backlog + done + unreported
    arrived = max(arrived, counted)
    if at_most >= arrived:
        reached_at = at
    elif at - reached_at > FROZEN_COUNT_SECONDS + COUNT_LAG_SECONDS + 2 * report_seconds:
        # Every count and report since would include them: they have left the queue without an answer.
        arrived, reached_at = counted, at
    confirmed_at = max((past.at for past in history if arrived - past.at_most >= 0.5), default=-math.inf)
    return Recommendation(
        at,
        0,
        backlog,
        answered,
        done,
        counted_at,
        arrived,
        at_most=max(arrived, at_most),
        confirmed_at=max(last.confirmed_at, confirmed_at),
        reached_at=reached_at,
    )


def with_outdated_count(history: History, sample: Recommendation, visible: int, idle_since: float) -> Recommendation:
    """The entry with its count marked as outdated where the workers know better.

    SQS's counts lag, and a worker that waits for jobs knows that there are none.  So a count is outdated if all workers
    have found the queue empty since it changed last, and have reported an answer for every image that is known to have
    arrived.  It stays so until it rises, for as long as a count may be frozen; one that falls is soon correct.

    Args:
        visible: the part of the backlog that waits, as the queue counts it.
        idle_since: after this time every running worker found the queue empty; -infinity where one has not.
    """
    until, last = -math.inf, history[-1] if history else sample
    if sample.backlog and sample.counted_at <= idle_since and all_answered(sample):
        until = sample.at + FROZEN_COUNT_SECONDS
    elif sample.backlog <= last.backlog and visible <= last.visible:
        has_fallen = sample.backlog < last.backlog
        until = min(last.outdated_until, sample.at + COUNT_LAG_SECONDS) if has_fallen else last.outdated_until
    return dataclasses.replace(sample, visible=visible, outdated_until=until)


def followed_by(history: History, latest: Recommendation) -> History:
    """The history with one more recommendation."""
    return (*history[:-1], dataclasses.replace(history[-1], until=latest.at), latest) if history else (latest,)


def sustained_arrivals(history: History, window_seconds: float, report_seconds: float) -> float:
    """Images a second that keep arriving: the lower rate of the two halves of the load window, 0 while unknown.

    No more than three times the mean of the two quarters with the fewest arrivals, since a burst falls into two at
    most.  And 0 unless images certainly arrived after the first quarter: more are known now than may have arrived by
    then, with all that had been answered by then reported since.
    """
    marks = [_last_before(history, history[-1].at - window_seconds * part / 4) for part in (4, 3, 2, 1)]
    points = [mark for mark in (*marks, history[-1]) if mark is not None]
    if len(points) < 5 or any(a.at >= b.at for a, b in itertools.pairwise(points)):
        return 0.0
    reported_at = points[1].at + REPORT_DELAY * report_seconds
    reported = next((past for past in history if past.at >= reported_at), history[-1])
    if history[-1].arrived - max(points[1].arrived, points[1].backlog + reported.done) < 0.5:
        return 0.0
    quarters = sorted(_rate(a, b) for a, b in itertools.pairwise(points))
    halves = _rate(points[0], points[2]), _rate(points[2], points[4])
    return max(0.0, min(*halves, 1.5 * (quarters[0] + quarters[1])))


def arrived_since(history: History, then: float) -> bool:
    """Whether images certainly arrived after `then`."""
    return history[-1].confirmed_at >= then


def all_answered(latest: Recommendation) -> bool:
    """Whether workers have reported an answer for every image that is known to have arrived."""
    return 0 < latest.arrived <= latest.done


def highest_since(history: History, then: float) -> int:
    """The highest recommendation that held after `then`."""
    return max(past.size for past in history if past.until > then)


def thinned(history: History, keep_seconds: float, recent_seconds: float) -> History:
    """Drop the recommendations that no later decision uses.

    Three kinds are kept: those that are the highest of a window that ends now, since no later one is as high; evenly
    spaced samples, closer to each other within `recent_seconds`; and the last one older than `keep_seconds`, whose
    counts are the start of the time kept.
    """
    now = history[-1].at
    oldest = max((i for i, past in enumerate(history) if past.at <= now - keep_seconds), default=0)
    highest, ruling = -1, set()
    for i in range(len(history) - 1, oldest - 1, -1):
        if history[i].size > highest:
            highest = history[i].size
            ruling.add(i)
    kept = [history[oldest]]
    for i in range(oldest + 1, len(history)):
        spacing = (recent_seconds if now - history[i].at <= recent_seconds else keep_seconds) / SAMPLES
        # The last one is in `ruling`.
        if i in ruling or history[i].at - kept[-1].at >= spacing:
            kept.append(history[i])
    return tuple(kept)


def _rate(a: Recommendation, b: Recommendation) -> float:
    return (b.arrived - a.arrived) / (b.at - a.at)


def _done_by(history: History, then: float) -> float:
    """The images reported as answered by `then`, at most: those of the last sample before."""
    found = _last_before(history, then)
    return history[0].done if found is None else found.done


def _last_before(history: History, then: float) -> Recommendation | None:
    return next((past for past in reversed(history) if past.at <= then), None)
