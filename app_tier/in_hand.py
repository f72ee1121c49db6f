"""The jobs in hand of a worker, limited in number so that memory does not grow with the backlog."""

from __future__ import annotations

import math
import threading


class InHand:
    """Receipt handles of the deliveries being worked on, at most `capacity`; thread-safe.  Times are in seconds.

    Attributes:
        empty_since: when the last delivery was removed; -infinity before the first.  It holds while this is empty.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._received_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._busy_seconds = 0.0
        self._taken_seconds = 0.0
        self.empty_since = -math.inf

    def __len__(self) -> int:
        return len(self._received_at)

    def add(self, receipt_handle: str, now: float) -> None:
        """Add a delivery received at the time `now`."""
        with self._changed:
            if self._busy_since is None:
                self._busy_since = now
            self._received_at[receipt_handle] = now

    def discard(self, receipt_handle: str, now: float) -> None:
        """Remove a delivery; one that is not in hand is no error."""
        with self._changed:
            self._received_at.pop(receipt_handle, None)
            if not self._received_at and self._busy_since is not None:
                self._busy_seconds += now - self._busy_since
                self._busy_since, self.empty_since = None, now
            self._changed.notify_all()

    def older_than(self, age_seconds: float, now: float) -> list[str]:
        """The deliveries in hand for at least `age_seconds` at the time `now`."""
        with self._changed:
            return [handle for handle, at in self._received_at.items() if now - at >= age_seconds]

    def take_busy_seconds(self, now: float) -> float:
        """Return how long any delivery was in hand since the last call."""
        total = self.busy_seconds(now)
        with self._changed:
            taken, self._taken_seconds = total - self._taken_seconds, total
            return taken

    def busy_seconds(self, now: float) -> float:
        """Return how long any delivery was in hand since the start."""
        with self._changed:
            return self._busy_seconds + (0.0 if self._busy_since is None else now - self._busy_since)

    def wait_for_room(self, timeout_seconds: float, wanted: int = 1) -> int:
        """Wait up to `timeout_seconds` for room for `wanted` deliveries; return how many fit then, possibly 0."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._received_at) + wanted <= self._capacity, timeout_seconds)
            return max(0, self._capacity - len(self._received_at))

    def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait up to `timeout_seconds` until nothing is in hand; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._received_at, timeout_seconds)
