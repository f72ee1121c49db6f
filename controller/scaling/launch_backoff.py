"""Backoff between launches, after EC2 launched fewer instances than asked for."""

from __future__ import annotations

FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
# An error that an operator must fix is retried rarely; once it is fixed, no restart is needed.
FATAL_DELAY_SECONDS = 120.0


class LaunchBackoff:
    """The delay before the next launch, doubled while nothing is launched.  All times are monotonic seconds."""

    def __init__(self) -> None:
        self._delay_seconds = 0.0
        self._not_before = float("-inf")

    def is_over(self, now: float) -> bool:
        """Whether another attempt may be made."""
        return now >= self._not_before

    def succeeded(self) -> None:
        """Reset the delay after a launch of all requested instances."""
        self._delay_seconds, self._not_before = 0.0, float("-inf")

    def failed(self, now: float, *, retryable: bool, some: bool = False) -> None:
        """Set the delay after a launch that failed; if `some` instances were launched, more capacity may come soon."""
        if not retryable:
            self._delay_seconds = 0.0
            self._not_before = now + FATAL_DELAY_SECONDS
            return
        doubled = min(self._delay_seconds * 2, MAX_DELAY_SECONDS)
        self._delay_seconds = FIRST_DELAY_SECONDS if some or not doubled else doubled
        self._not_before = now + self._delay_seconds
