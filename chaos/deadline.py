"""A time limit that the parts of a run share, and calls that are retried until it has passed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from api_client.responses import ApiError
from core.errors import CloudError

POLL_SECONDS = 0.25

_Result = TypeVar("_Result")


class Deadline:
    """A time limit in monotonic time; may be read from any thread.

    Args:
        timeout_seconds: counted from now.
    """

    def __init__(self, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + timeout_seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self._ends_at

    @property
    def remaining_seconds(self) -> float:
        """The time left, at least 0."""
        return max(0.0, self._ends_at - self._clock())

    def expire(self) -> None:
        """Ends the time now, so that all who wait stop."""
        self._ends_at = self._clock()

    def retry(self, call: Callable[[], _Result], sleep: Callable[[float], None] = time.sleep) -> _Result:
        """Repeats `call` after errors of the API or the cloud; returns its result.

        Raises:
            ApiError, CloudError: it still failed when the time was over.
        """
        while True:
            try:
                return call()
            except (ApiError, CloudError):
                if self.passed:
                    raise
                sleep(POLL_SECONDS)
