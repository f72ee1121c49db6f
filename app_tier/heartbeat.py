"""Publish the worker's heartbeat, with its state and counts, for the controller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app_tier.release import Assignment
from app_tier.statistics import Vitals
from core.heartbeat import QUIET_SECONDS, Heartbeat
from core.periodic_task import PeriodicTask

# How often to check whether a heartbeat is due early: this is a request only if one is.
_LOOK_SECONDS = 1.0
_LOOKS_PER_BEAT = 3
# So many may be early one after the other; one more is allowed in each third of the time between two heartbeats.
_EARLY_BEATS = 3.0
_EARLY_PER_BEAT = 3
# How long a heartbeat that is being stored may delay the worker's exit.
_LAST_BEAT_PATIENCE_SECONDS = 2.0
# A worker that cannot work exits after this time if no controller terminates its instance; cron starts it again.
FAILURE_PATIENCE_SECONDS = 600.0


class HeartbeatReporter:
    """Store a worker's heartbeats; one that cannot be stored is lost, which never stops the work.

    Args:
        put: stores a heartbeat's body; may raise `CloudError`.
        vitals: returns the worker's counts.
        idle_seconds: returns how long the worker has waited for jobs with nothing in hand.
        model: the bundle's full name.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
        release: the number of the instance's release.
        more: returns further fields of a heartbeat.
    """

    def __init__(
        self,
        put: Callable[[bytes], object],
        vitals: Callable[[], Vitals],
        idle_seconds: Callable[[], float],
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
        self._idle_seconds = idle_seconds
        self._model = model
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_at = wall_clock()
        self._before = Vitals(0, 0, 0, 0.0, None)
        self._idle_before = 0.0
        self._beat_at = self._looked_at = clock()
        self._early_beats = _EARLY_BEATS
        self._has_begun = False

    def beat(self, *, leaving: bool = False) -> None:
        """Store one heartbeat.

        Raises:
            CloudError: it could not be stored; the next one includes its counts.
        """
        now, idle_seconds, vitals = self._clock(), self._idle_seconds(), self._vitals()
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
            idle_seconds=round(idle_seconds, 3),
            **self._more(),
        )
        self._before, self._idle_before = vitals, idle_seconds
        self._beat_at, self._has_begun = now, True
        self._put(heartbeat.encode())

    def beat_if_due(self, interval_seconds: float) -> None:
        """Store the first heartbeat, and later ones when they are due: at the interval, or early after a change.

        Raises:
            CloudError: it could not be stored.
        """
        now = self._clock()
        more = (now - self._looked_at) * _EARLY_PER_BEAT / interval_seconds
        self._early_beats, self._looked_at = min(_EARLY_BEATS, self._early_beats + more), now
        if not self._has_begun or now - self._beat_at >= interval_seconds * 0.99:
            self.beat()
        elif self._early_beats >= 1 and self._has_changed():
            self._early_beats -= 1
            self.beat()

    def _has_changed(self) -> bool:
        """Whether the worker has become busy or idle since the last heartbeat, or has been idle for long enough."""
        idle_seconds = self._idle_seconds()
        became_quiet = idle_seconds >= QUIET_SECONDS > self._idle_before
        return (idle_seconds == 0.0) != (self._idle_before == 0.0) or became_quiet

    @contextmanager
    def beating(self, interval_seconds: float) -> Iterator[None]:
        """Store a heartbeat at once, then every `interval_seconds` while the block runs, and a last one at its end.

        A worker that becomes idle or busy publishes it early: scale-in selects instances by that, and a worker that has
        found the queue empty knows it sooner than the queue's own counts show it.
        """
        stop = threading.Event()
        beats = PeriodicTask(
            "heartbeat",
            min(_LOOK_SECONDS, interval_seconds / _LOOKS_PER_BEAT),
            lambda: self.beat_if_due(interval_seconds),
            at_once=True,
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
    """Report, instead of working, that this instance cannot run its assigned model, until it is stopped.

    If the worker exited at once, cron would start it again every minute, and the controller would not get the reason.
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
