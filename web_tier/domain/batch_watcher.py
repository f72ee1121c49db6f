"""Batch watcher: one thread reads a batch for all of its viewers in this process.

The thread starts with the first viewer and ends with the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.errors import CloudError, ElasticError, NotFoundError
from core.fleet_status import FleetStatus
from web_tier.domain.batches import Batch

INTERVAL_SECONDS = 1.0
# More images may be added to a complete batch, or to one whose upload has paused, but showing them may take longer.
IDLE_INTERVAL_SECONDS = 5.0
# An upload has paused if all images are answered and the last change was so long ago.
PAUSED_AFTER_SECONDS = 60.0
# The larger a batch, the longer its listing takes: reading occupies a quarter of the time at most.
REST_FACTOR = 3

log = logging.getLogger(__name__)


class TooManyViewersError(ElasticError):
    """too many viewers already follow batches here"""


class WatchFailedError(ElasticError):
    """the batch could not be read"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A batch at one moment.  `version` grows with every change; `batch` is None once it is deleted."""

    version: int
    batch: Batch | None
    fleet: FleetStatus | None


class Watch:
    """One watched batch."""

    def __init__(self) -> None:
        self.viewers = 0
        self.closed = False
        self._changed = threading.Condition()
        self._snapshot: Snapshot | None = None
        self._failures = 0

    def wait(self, seen_version: int, timeout_seconds: float) -> Snapshot | None:
        """The first snapshot that is newer than `seen_version`; None after `timeout_seconds`, or when closed.

        Raises:
            WatchFailedError: reading the batch failed unexpectedly meanwhile.
        """
        with self._changed:
            failures = self._failures
            self._changed.wait_for(
                lambda: self.closed or self._newer(seen_version) or self._failures > failures, timeout_seconds
            )
            if self._newer(seen_version):
                return self._snapshot
            if self._failures > failures:
                raise WatchFailedError
            return None

    def publish(self, batch: Batch | None, fleet: FleetStatus | None) -> None:
        """Publishes what was read to all viewers, if it differs from the last snapshot."""
        with self._changed:
            last = self._snapshot
            if last is None or last.batch != batch or _fleet_counts(last.fleet) != _fleet_counts(fleet):
                self._snapshot = Snapshot(last.version + 1 if last else 1, batch, fleet)
                self._changed.notify_all()

    def fail(self) -> None:
        """Report to all viewers that wait that the batch could not be read."""
        with self._changed:
            self._failures += 1
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Waits, unless the last viewer leaves or the watcher closes."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or not self.viewers, seconds)

    def release(self, *, close: bool = False) -> None:
        """Wakes all waiting threads, because `viewers` changed or the watcher closes."""
        with self._changed:
            self.closed = self.closed or close
            self._changed.notify_all()

    def _newer(self, version: int) -> bool:
        return self._snapshot is not None and self._snapshot.version > version


class BatchWatcher:
    """All watched batches of a process; safe to share between threads.

    Args:
        read: reads a batch; it gets the state that it returned before, if there is one.
        fleet: reads the fleet's status.
        max_viewers: limit on viewers at a time, of all batches together.
    """

    def __init__(
        self, read: Callable[[str, Batch | None], Batch], fleet: Callable[[], FleetStatus | None], max_viewers: int
    ) -> None:
        self._read = read
        self._fleet = fleet
        self._max_viewers = max_viewers
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many viewers there are."""
        with self._lock:
            return sum(watch.viewers for watch in self._watches.values())

    @contextmanager
    def watch(self, batch_id: str) -> Iterator[Watch]:
        """A watch on a batch for one viewer.

        Raises:
            TooManyViewersError: the limit on viewers is reached.
        """
        with self._lock:
            if self._closed or sum(watch.viewers for watch in self._watches.values()) >= self._max_viewers:
                raise TooManyViewersError
            watch = self._watches.get(batch_id)
            if watch is None:
                watch = Watch()
                watch.viewers = 1
                # Only a watch whose thread could be started is there for others to join.
                threading.Thread(target=self._follow, args=(batch_id, watch), name="watch", daemon=True).start()
                self._watches[batch_id] = watch
            else:
                watch.viewers += 1
        try:
            yield watch
        finally:
            with self._lock:
                watch.viewers -= 1
                if not watch.viewers:
                    self._watches.pop(batch_id, None)
            watch.release()

    def close(self) -> None:
        """Ends all watching: the server is about to stop."""
        with self._lock:
            self._closed = True
            watches = list(self._watches.values())
        for watch in watches:
            watch.release(close=True)

    def _follow(self, batch_id: str, watch: Watch) -> None:
        batch: Batch | None = None
        while watch.viewers and not watch.closed:
            started = time.monotonic()
            idle = False
            try:
                batch = self._read(batch_id, batch)
                idle = batch.complete or (batch.settled and time.time() - batch.changed_at > PAUSED_AFTER_SECONDS)
                watch.publish(batch, self._fleet())
            except NotFoundError:
                watch.publish(None, None)
                return
            except CloudError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("unexpected error while reading the batch %s", batch_id)
                watch.fail()
            interval = IDLE_INTERVAL_SECONDS if idle else INTERVAL_SECONDS
            watch.pause(max(interval, REST_FACTOR * (time.monotonic() - started)))


def _fleet_counts(status: FleetStatus | None) -> tuple[int, int, int] | None:
    latest = status.latest if status is not None else None
    return None if latest is None else (latest.desired, latest.booting, latest.running)
