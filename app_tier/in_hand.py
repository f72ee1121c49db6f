"""The jobs in hand of a worker, limited in number so that memory does not grow with the backlog."""

from __future__ import annotations

import math
import threading


class BusyTime:
    """How long anything was in hand, of whichever queue; thread-safe.  Times are in seconds.

    Attributes:
        idle_since: when the last thing was out of hand; -infinity before the first.  It holds while nothing is in hand.
    """

    def __init__(self) -> None:
        self.idle_since = -math.inf
        self._lock = threading.Lock()
        self._count = 0
        self._since = 0.0
        self._seconds = 0.0
        self._taken_seconds = 0.0

    def begin(self, now: float) -> None:
        """Note that something more is in hand."""
        with self._lock:
            if self._count == 0:
                self._since = now
            self._count += 1

    def end(self, now: float) -> None:
        """Note that something is out of hand."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._seconds += now - self._since
                self.idle_since = now

    def seconds(self, now: float) -> float:
        """Return how long anything was in hand since the start."""
        with self._lock:
            return self._seconds + (now - self._since if self._count else 0.0)

    def take_seconds(self, now: float) -> float:
        """Return how long anything was in hand since the last call."""
        total = self.seconds(now)
        with self._lock:
            taken, self._taken_seconds = total - self._taken_seconds, total
            return taken


class InHand:
    """Receipt handles of the deliveries being worked on, at most `capacity`; thread-safe.  Times are in seconds."""

    def __init__(self, capacity: int, busy: BusyTime | None = None) -> None:
        self._capacity = capacity
        self._busy = busy or BusyTime()
        self._received_at: dict[str, float] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._received_at)

    def add(self, receipt_handle: str, now: float) -> None:
        """Add a delivery received at the time `now`."""
        with self._changed:
            if receipt_handle not in self._received_at:
                self._busy.begin(now)
            self._received_at[receipt_handle] = now

    def discard(self, receipt_handle: str, now: float) -> None:
        """Remove a delivery; one that is not in hand is no error."""
        with self._changed:
            if self._received_at.pop(receipt_handle, None) is not None:
                self._busy.end(now)
            self._changed.notify_all()

    def older_than(self, age_seconds: float, now: float) -> list[str]:
        """The deliveries in hand for at least `age_seconds` at the time `now`."""
        with self._changed:
            return [handle for handle, at in self._received_at.items() if now - at >= age_seconds]

    def wait_for_room(self, timeout_seconds: float, wanted: int = 1) -> int:
        """Wait up to `timeout_seconds` for room for `wanted` deliveries; return how many fit then, possibly 0."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._received_at) + wanted <= self._capacity, timeout_seconds)
            return max(0, self._capacity - len(self._received_at))

    def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait up to `timeout_seconds` until nothing is in hand; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._received_at, timeout_seconds)
