"""How fast a bulk run is, how long it will take, and what it has cost.  Pure."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from core.bulk_run import JOBS_PER_SEGMENT, BulkRun
from core.prices import Prices

# The rate is the mean of so long: jobs end by the hundred images.
WINDOW_SECONDS = 60.0
# Sending, receiving and deleting a job's message.
SQS_REQUESTS_PER_JOB = 3


class Rate:
    """The rate of a counter over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, count: int) -> None:
        """Note the counter's value at a time, in seconds."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def per_second(self) -> float | None:
        """The rate; None until the counter has changed."""
        if not self._samples:
            return None
        (since, before), (now, count) = self._samples[0], self._samples[-1]
        return (count - before) / (now - since) if count > before and now > since else None


def seconds_left(run: BulkRun, images_per_second: float | None) -> float | None:
    """How long the rest of a run will take; None where that is not known yet."""
    if not run.is_planned or not images_per_second:
        return None
    return run.waiting_images / images_per_second


def usd_so_far(run: BulkRun, prices: Prices, compute_usd_per_1000_images: float | None) -> float:
    """What a run has cost: its requests, and the instances' time for its images.

    Args:
        compute_usd_per_1000_images: the fleet's, from its status; None: not known, and not counted.
    """
    of, done = prices.of, run.done_images
    jobs = run.planned_jobs * done / run.planned_images if run.planned_images else 0.0
    segments = jobs / JOBS_PER_SEGMENT
    listed = (run.planned_images + run.skipped) / 1000
    requests = (
        done * of["s3_read"]
        + jobs * (of["s3_write"] + of["s3_read"] + SQS_REQUESTS_PER_JOB * of["sqs_request"])
        + segments * (of["s3_write"] + 2 * of["s3_read"] + of["s3_write"])
        + listed * of["s3_write"]
    )
    return requests + done / 1000 * (compute_usd_per_1000_images or 0.0)


def utc(at: float) -> str:
    """A moment, in seconds since the epoch, for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """A time in words, in the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
