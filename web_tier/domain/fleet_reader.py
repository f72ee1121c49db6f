"""What the controller and the workers tell of themselves, read from the state bucket at most once a second."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from aws.state import StateStore
from core import fleet_status, heartbeat
from core.errors import CloudError, DecodeError
from core.fleet_status import FleetStatus
from core.heartbeat import Heartbeat

STATUS_SECONDS = 1.0
HEARTBEATS_SECONDS = 5.0

log = logging.getLogger(__name__)

T = TypeVar("T")


class Remembered(Generic[T]):
    """A value that is read again when it is older than so many seconds; one thread reads, the others wait for it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, read: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """The value; what reading raises is raised and not remembered."""
        with self._lock:
            now = self._clock()
            if self._found is None or now - self._found[0] >= self._seconds:
                self._found = now, self._read()
            return self._found[1]


class FleetReader:
    """The fleet as others told of it; safe to share between threads."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._status = Remembered(self._read_status, STATUS_SECONDS)
        self._heartbeats = Remembered(self._read_heartbeats, HEARTBEATS_SECONDS)

    def status(self) -> FleetStatus | None:
        """What the controller told last; None where it has told nothing that we understand.

        Raises:
            CloudError: S3 failed.
        """
        return self._status.get()

    def known_status(self) -> FleetStatus | None:
        """As `status`, but None where S3 failed: for answers that can do without."""
        try:
            return self.status()
        except CloudError as error:
            log.warning("%s", error)
            return None

    def workers_by_model(self) -> dict[str, int]:
        """How many workers report, by the model that they answer with.

        Raises:
            CloudError: S3 failed.
        """
        counts: dict[str, int] = {}
        for beat in self._heartbeats.get():
            if beat.model and not beat.leaving:
                counts[beat.model] = counts.get(beat.model, 0) + 1
        return counts

    def _read_status(self) -> FleetStatus | None:
        found = self._state.get(fleet_status.KEY)
        if found is None:
            return None
        try:
            return FleetStatus.decode(found.body)
        except DecodeError as error:
            log.warning("%s", error)
            return None

    def _read_heartbeats(self) -> list[Heartbeat]:
        # A worker that was killed leaves its last word behind: only instances that the controller still has count.
        status = self.status()
        alive = None if status is None else {instance.instance_id for instance in status.instances}
        beats = []
        for stored in self._state.list(heartbeat.PREFIX):
            if alive is None or heartbeat.instance_of(stored.key) in alive:
                found = self._state.get(stored.key)
                try:
                    beats += [] if found is None else [Heartbeat.decode(found.body)]
                except DecodeError as error:
                    log.warning("%s", error)
        return beats
