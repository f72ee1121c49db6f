"""The rule by which an idle worker shuts down."""

from __future__ import annotations

from collections.abc import Callable

from aws.queue import Backlog

# The number of empty polls, with no job waiting or in flight, after which an idle worker may exit.
IDLE_POLLS = 3


class Idleness:
    """Decide when a worker has been idle for long enough to exit; never if `limit_seconds` is 0."""

    def __init__(self, limit_seconds: float, now: float) -> None:
        self._limit_seconds = limit_seconds
        self._since = now
        self._empty_polls = 0

    def is_over(self, now: float, *, busy: bool, count: Callable[[], Backlog]) -> bool:
        """Whether to exit now.  Calls `count` only if all else is fulfilled, since the counts cost a request."""
        if busy or not self._limit_seconds:
            self._since, self._empty_polls = now, 0
            return False
        if now - self._since < self._limit_seconds:
            return False
        # The counts are approximate: only several zeros in a row mean that no worker still holds or releases jobs.
        self._empty_polls = self._empty_polls + 1 if count().total == 0 else 0
        return self._empty_polls >= IDLE_POLLS
