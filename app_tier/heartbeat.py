"""Tells the controller that this worker lives, and how it fares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app_tier.release import Assignment
from app_tier.statistics import Vitals
from core.heartbeat import Heartbeat
from core.periodic_task import PeriodicTask

# How often in the time between two beats it is asked whether one is due at once.
_LOOKS_PER_BEAT = 3
# How long a beat that is under way may hold up a worker's end.
_LAST_BEAT_PATIENCE_SECONDS = 2.0
# Without a controller nobody ends a worker that cannot work: it does so itself, and cron tries once more.
FAILURE_PATIENCE_SECONDS = 600.0


class HeartbeatReporter:
    """Put a worker's heartbeat; one that cannot be put is lost, which never stops the work.

    Args:
        put: stores a heartbeat's body; may raise `CloudError`.
        vitals: the worker's counts.
        busy: whether it holds jobs.
        model: the bundle's full name.
        release: the number of the release that this instance is of.
        more: further fields of a heartbeat.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        put: Callable[[bytes], object],
        vitals: Callable[[], Vitals],
        busy: Callable[[], bool],
        model: str,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        release: int = 0,
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._more = more
        self._put = put
        self._release = release
        self._vitals = vitals
        self._busy = busy
        self._model = model
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_at = wall_clock()
        self._before = Vitals(0, 0, 0, 0.0, None)
        self._beat_at = clock()
        self._has_begun = False

    def beat(self, *, leaving: bool = False) -> None:
        """Put one heartbeat.

        Raises:
            CloudError: it is lost; the next one holds its counts, too.
        """
        now, vitals = self._clock(), self._vitals()
        answered = vitals.answered - self._before.answered
        busy_seconds = vitals.busy_seconds - self._before.busy_seconds
        heartbeat = Heartbeat(
            at=round(self._wall_clock(), 3),
            started_at=round(self._started_at, 3),
            model=self._model,
            in_hand=vitals.in_hand,
            answered=vitals.answered,
            failed=vitals.failed,
            images_per_second=round(answered / max(now - self._beat_at, 1e-3), 3),
            mean_service_seconds=round(busy_seconds / answered, 6) if answered else None,
            oldest_job_age_seconds=vitals.oldest_job_age_seconds,
            leaving=leaving,
            release=self._release,
            **self._more(),
        )
        self._before, self._beat_at, self._has_begun = vitals, now, True
        self._put(heartbeat.encode())

    def beat_if_due(self, interval_seconds: float) -> None:
        """Put the first heartbeat, and later ones when they are due.

        Raises:
            CloudError: it is lost.
        """
        if not self._has_begun or self.is_due(interval_seconds):
            self.beat()

    def is_due(self, interval_seconds: float) -> bool:
        """Whether there is something to tell: the time is over, or the worker turned idle or busy."""
        return self._clock() - self._beat_at >= interval_seconds * 0.99 or self._busy() != bool(self._before.in_hand)

    @contextmanager
    def beating(self, interval_seconds: float) -> Iterator[None]:
        """While the block runs, beats at once and then every `interval_seconds`; a last time when it ends.

        Sooner where the worker has become idle or busy: scale-in waits for nothing else.
        """
        stop = threading.Event()
        beats = PeriodicTask(
            "heartbeat", interval_seconds / _LOOKS_PER_BEAT, lambda: self.beat_if_due(interval_seconds), at_once=True
        )
        thread = beats.start(stop)
        try:
            yield
        finally:
            stop.set()
            thread.join(_LAST_BEAT_PATIENCE_SECONDS)
            PeriodicTask("last heartbeat", interval_seconds, lambda: self.beat(leaving=True)).run_round()


def report_failure(
    put: Callable[[bytes], object],
    assigned: Assignment,
    failure: str,
    interval_seconds: float,
    stop: threading.Event,
    patience_seconds: float = FAILURE_PATIENCE_SECONDS,
) -> None:
    """Tells, instead of working, that this instance cannot be what it is to be; until it is stopped.

    A worker that ended instead would be started again every minute, and nobody would learn why.
    """
    started, started_at = time.monotonic(), time.time()

    def report() -> None:
        beat = Heartbeat(time.time(), started_at, assigned.model, release=assigned.release, failure=failure)
        put(beat.encode())

    reports = PeriodicTask("failure report", interval_seconds, report)
    while True:
        reports.run_round()
        if stop.wait(interval_seconds) or time.monotonic() - started > patience_seconds:
            return
