"""Record the fleet's size over time, from EC2's descriptions."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from aws.fleet import Fleet
from core.errors import CloudError
from core.periodic_task import PeriodicTask


@dataclass(frozen=True, slots=True)
class Change:
    """A change to `size` instances, `seconds` after the start."""

    seconds: float
    size: int


class FleetSizeHistory:
    """Samples the number of pending and running instances in the background; a context manager."""

    def __init__(self, fleet: Fleet, interval_seconds: float = 0.2) -> None:
        self._fleet = fleet
        self._interval_seconds = interval_seconds
        self._started = time.monotonic()
        self._changes: list[Change] = []
        self._stop = threading.Event()
        self._task = PeriodicTask("fleet size", interval_seconds, self._sample, at_once=True)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FleetSizeHistory:
        self._thread = self._task.start(self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def changes(self) -> list[Change]:
        """All changes of size so far, the first size included."""
        return list(self._changes)

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self._started

    @property
    def size(self) -> int:
        """The last known size."""
        return self._changes[-1].size if self._changes else 0

    @property
    def peak(self) -> int:
        """The largest size so far."""
        return max((change.size for change in self._changes), default=0)

    def wait_for_zero(self, timeout_seconds: float) -> bool:
        """Waits until the fleet is empty; returns whether it was within the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while self.size and time.monotonic() < deadline:
            time.sleep(self._interval_seconds)
        return self.size == 0

    def _sample(self) -> None:
        try:
            size = len(self._fleet.describe())
        except CloudError:
            return  # the next sample follows; a console has no use for a warning
        if not self._changes or size != self._changes[-1].size:
            self._changes.append(Change(time.monotonic() - self._started, size))
