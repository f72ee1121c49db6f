"""Simulate a cloud: queue counts that lag, instances that boot, fail to launch and are interrupted.

The scaler, the refreshes of the counts, each launch and each interruption are simpy processes;
`simulation.assumptions` has the parameters.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from core.heartbeat import QUIET_SECONDS
from simulation import assumptions as given
from simulation.outcome import Outcome
from simulation.pool import Floats, Pool
from simulation.scalers import Scaler, View


@dataclass(slots=True, eq=False)
class Instance:
    """One instance; times in seconds, None before the event."""

    launched_at: float
    boot_seconds: float
    ready_at: float | None = None
    ended: bool = False
    counted: float = 0.0  # answers included in its heartbeats, see World._answered_each
    busy_before: float = 0.0
    busy: bool = False  # by its last heartbeat
    reported_at: float = -math.inf
    looked_at: float = -math.inf
    seen_busy: bool = False  # by its last heartbeat that the scaler has listed
    seen_at: float = -math.inf
    quiet: bool = False  # its last heartbeat reported an empty queue
    early_heartbeats: float = given.EARLY_HEARTBEATS  # that it may still publish
    idle_since: float = -math.inf  # as the scaler knows it


class World:
    """One run of one scaler against one trace.

    Args:
        arrivals: seconds [images]; service_seconds: likewise.
        seed: of boots, errors and lag; the same for every scaler that is compared.
        timeline: whether to record the timeline.
        burst_starts: when equal bursts begin, whose peaks are compared.
        min_size: instances that the scaler always keeps: the run ends when no more are left.
    """

    def __init__(
        self,
        scaler: Scaler,
        arrivals: Floats,
        service_seconds: Floats,
        seed: int,
        disturbances: given.Disturbances = given.ALL_DISTURBANCES,
        *,
        timeline: bool = False,
        burst_starts: Sequence[float] = (),
        min_size: int = 0,
    ) -> None:
        self._scaler = scaler
        self._pool = Pool(arrivals, service_seconds)
        self._last_arrival = float(arrivals[-1])
        self._min_size = min_size
        self._disturbances = disturbances
        # A random stream for each effect: the n-th launch has the same boot time for every scaler.
        self._boots, self._counts_rng, self._faults, self._looks = (
            np.random.default_rng([seed, kind]) for kind in range(4)
        )
        self._environment = simpy.Environment()
        # Ordered by launch, or by first report; dictionaries, since instances are removed from the middle.
        self._booting: dict[Instance, None] = {}
        self._running: dict[Instance, None] = {}
        self._counts = (0, 0)
        self._published_answers = self._seen_answers = 0.0
        self._listed_at = -math.inf
        self._burst_starts = burst_starts
        # The answers and the busy time of an instance that had been running all the time.
        self._answered_each = self._busy_each = 0.0
        self._measured_boots: deque[float] = deque(maxlen=given.BOOTS_REMEMBERED)
        self._terminated_at = -math.inf
        self._timeline: list[tuple[float, int, int]] | None = [] if timeline else None
        self._result = Outcome(self._pool.waits, 0.0, 0.0, 0, 0, 0, 0, 0, burst_peaks=[0] * len(burst_starts))

    def run(self) -> Outcome:
        """Runs until every image is answered and the fleet is at its minimum.

        Raises:
            RuntimeError: that has not happened six hours after the last arrival.
        """
        if self._disturbances.lag:
            self._environment.process(self._refresh_counts())
        control = self._environment.process(self._control())
        self._environment.run(control)
        result = self._result
        result.timeline = self._timeline or []
        answered_at = np.asarray(self._pool.waits, np.float64) + self._pool.arrivals
        result.drain_seconds = float(answered_at.max()) - self._last_arrival
        return result

    # --- processes -------------------------------------------------------------------------------

    def _control(self) -> Generator[simpy.Event, None, None]:
        while True:
            now = self._environment.now
            self._advance()
            change = self._scaler.change(self._view(now), now)
            if change > 0:
                self._launch(change)
            elif change < 0:
                self._terminate(-change)
            size = len(self._booting) + len(self._running)
            self._result.peak = max(self._result.peak, size)
            if burst := bisect.bisect_right(self._burst_starts, now):
                self._result.burst_peaks[burst - 1] = max(self._result.burst_peaks[burst - 1], size)
            if self._timeline is not None:
                self._timeline.append((now, self._pool.backlog() + self._pool.lost, size))
            if size <= self._min_size and self._pool.answered == self._pool.total:
                for instance in [*self._booting, *self._running]:
                    self._end(instance, 0.0)
                return
            if now > self._last_arrival + given.GIVE_UP_SECONDS:
                raise RuntimeError(f"{self._scaler.name} does not come to an end")
            yield self._environment.timeout(self._scaler.interval_seconds)

    def _refresh_counts(self) -> Generator[simpy.Event, None, None]:
        while True:
            frozen = self._counts_rng.random() < given.COUNT_FREEZE_SHARE
            mean = given.COUNT_REFRESH_SECONDS
            wait = (
                self._counts_rng.random() * given.COUNT_FREEZE_SECONDS if frozen else self._counts_rng.exponential(mean)
            )
            yield self._environment.timeout(wait)
            self._advance()
            self._counts = self._true_counts()

    def _boot(self, launched: list[Instance]) -> Generator[simpy.Event, None, None]:
        """Boots instances that were launched together, in the order of their boot times."""
        start = self._environment.now
        for instance in sorted(launched, key=lambda instance: instance.boot_seconds):
            if instance.ended:
                continue
            yield self._environment.timeout(start + instance.boot_seconds - self._environment.now)
            if not instance.ended:
                self._advance()
                del self._booting[instance]
                self._running[instance] = None
                instance.ready_at = self._environment.now
                instance.counted, instance.busy_before = self._answered_each, self._busy_each
                self._measured_boots.append(instance.boot_seconds)
                if self._disturbances.errors:
                    self._environment.process(self._interrupt(instance))

    def _interrupt(self, instance: Instance) -> Generator[simpy.Event, None, None]:
        yield self._environment.timeout(self._faults.exponential(given.INTERRUPTION_MEAN_SECONDS))
        if not instance.ended:
            self._advance()
            self._end(instance, given.DRAIN_SECONDS)

    def _reappear(self, images: list[int]) -> Generator[simpy.Event, None, None]:
        yield self._environment.timeout(given.VISIBILITY_TIMEOUT_SECONDS)
        self._advance()
        self._pool.give_back(images)

    # --- the fleet -------------------------------------------------------------------------------

    def _launch(self, count: int) -> None:
        now = self._environment.now
        if self._disturbances.errors and self._faults.random() < given.CAPACITY_ERROR_SHARE:
            return
        if now - self._terminated_at < given.THRASH_SECONDS:
            self._result.thrash += 1
        drawn = given.lognormal(self._boots, given.BOOT_MEAN_SECONDS, given.BOOT_DEVIATION, count)
        boots = drawn.tolist() if self._disturbances.random else [given.BOOT_MEAN_SECONDS] * count
        launched = [Instance(now, boot) for boot in boots]
        self._booting |= dict.fromkeys(launched)
        self._result.launches += count
        if self._pool.backlog() + self._pool.lost == 0:
            self._result.empty_launches += count
        self._environment.process(self._boot(launched))

    def _terminate(self, count: int) -> None:
        self._terminated_at = self._environment.now
        for instance in list(itertools.islice(reversed(self._booting), count)):
            self._end(instance, 0.0)
            count -= 1
        if count == 0:
            return
        at_work = min(self._pool.backlog(), len(self._running))
        idle = len(self._running) - at_work
        # Scalers that drain select idle instances first; the others select at random.
        drains = self._scaler.drains
        busy = max(0, count - idle) if drains else int(self._faults.hypergeometric(at_work, idle, count))
        selected = sorted(self._running, key=lambda i: (i.busy, -i.launched_at))[:count]
        for position, instance in enumerate(selected):
            self._end(instance, given.DRAIN_SECONDS if drains and position < busy else 0.0)
        if drains:
            self._result.busy_drained += busy
        elif busy:
            self._result.busy_killed += busy
            self._environment.process(self._reappear(self._pool.lose(busy * self._scaler.jobs_in_hand)))

    def _end(self, instance: Instance, drain_seconds: float) -> None:
        if instance.ready_at is not None and self._scaler.drains:
            self._publish(instance)  # a worker that exits publishes a last heartbeat
        del (self._booting if instance.ready_at is None else self._running)[instance]
        instance.ended = True
        self._result.instance_seconds += self._environment.now + drain_seconds - instance.launched_at

    # --- the scaler's view -----------------------------------------------------------------------

    def _advance(self) -> None:
        answered, busy_seconds = self._pool.answered, self._pool.busy_seconds
        self._pool.advance(self._environment.now, len(self._running))
        if self._running:
            self._answered_each += (self._pool.answered - answered) / len(self._running)
            self._busy_each += (self._pool.busy_seconds - busy_seconds) / len(self._running)

    def _true_counts(self) -> tuple[int, int]:
        backlog = self._pool.backlog()
        in_hand = min(backlog, self._scaler.jobs_in_hand * len(self._running))
        return backlog - in_hand, in_hand + self._pool.lost

    def _view(self, now: float) -> View:
        visible, in_flight = self._counts if self._disturbances.lag else self._true_counts()
        if not self._scaler.uses_reports:
            return View(visible, in_flight, len(self._booting), len(self._running))
        self._publish_heartbeats(now)
        self._list_heartbeats(now)
        working = [instance for instance in self._running if instance.seen_busy]
        return View(
            visible,
            in_flight,
            len(self._booting),
            len(self._running),
            busy=len(working),
            answered=round(self._seen_answers),
            boot_seconds=statistics.median(self._measured_boots) if self._measured_boots else None,
            unreported_seconds=sum(now - instance.seen_at for instance in working),
            idle_since=min((instance.idle_since for instance in self._running), default=-math.inf),
        )

    def _publish_heartbeats(self, now: float) -> None:
        """Let each worker publish a heartbeat if one is due, or early after a change."""
        backlog, running = self._pool.backlog(), len(self._running)
        quiet = backlog == 0 and now - self._pool.worked_at >= QUIET_SECONDS
        for instance in self._running:
            since = now - max(instance.looked_at, instance.ready_at or now)
            if now - instance.looked_at < given.LOOK_SECONDS:
                continue
            # Its share of busy time since the last check is the probability that it holds a job now.
            worked = self._busy_each - instance.busy_before
            busy = backlog >= running or (not quiet and self._looks.random() * since < worked)
            instance.looked_at, instance.busy_before = now, self._busy_each
            more = since / given.EARLY_HEARTBEAT_SECONDS
            instance.early_heartbeats = min(given.EARLY_HEARTBEATS, instance.early_heartbeats + more)
            is_due = now - instance.reported_at >= given.HEARTBEAT_SECONDS
            has_changed = busy != instance.busy or quiet > instance.quiet
            if is_due or (has_changed and instance.early_heartbeats >= 1):
                instance.early_heartbeats -= not is_due
                self._publish(instance)
                instance.busy, instance.quiet, instance.reported_at = busy, quiet, now

    def _publish(self, instance: Instance) -> None:
        """Include all answers of an instance in its heartbeat."""
        self._published_answers += self._answered_each - instance.counted
        instance.counted = self._answered_each

    def _list_heartbeats(self, now: float) -> None:
        """Read what is published: at every decision while a first heartbeat is expected, else at an interval."""
        new = any(instance.seen_at == -math.inf for instance in self._running)
        is_due = now - self._listed_at >= given.LISTING_SECONDS or self._booting or new or self._scaler.awaits_idle
        if self._disturbances.lag and not is_due:
            return
        before, self._listed_at, self._seen_answers = self._listed_at, now, self._published_answers
        for instance in self._running:
            if instance.reported_at > instance.seen_at:
                instance.idle_since = before if instance.quiet else -math.inf
            instance.seen_busy, instance.seen_at = instance.busy, instance.reported_at
