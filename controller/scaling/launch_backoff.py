"""Backoff between launches, after requests that EC2 refused and after instances that failed before they worked.  Pure.

Failures are counted in a row, and each pause is twice as long as the last, up to a bound.  All times are monotonic
seconds.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass

FIRST_DELAY_SECONDS = 1.0
# Of EC2's refusals: capacity may come back at any moment, and a request costs nothing.
MAX_DELAY_SECONDS = 30.0
# An error that an operator must fix is retried rarely; once it is fixed, no restart is needed.
FATAL_DELAY_SECONDS = 120.0
# Of failed starts: each launch is billed for a minute at least.
MAX_START_DELAY_SECONDS = 120.0
# After so many pauses in a row only one instance is launched at a time, until one works.
PAUSES_BEFORE_PROBING = 2


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures in a row.

    Attributes:
        count: how many there were.
        pauses: how many pauses they caused; failures during a pause belong to launches before it and cause no other.
        reason: of the last failure, one sentence.
        not_before: when the pause ends.
    """

    count: int = 0
    pauses: int = 0
    reason: str = ""
    not_before: float = float("-inf")

    def more(self, now: float, reason: str, max_delay_seconds: float) -> Failures:
        """The failures with one more."""
        if now < self.not_before:
            return dataclasses.replace(self, count=self.count + 1, reason=reason)
        # Bounded before it is a float, which a long row of failures would overflow.
        delay_seconds = min(FIRST_DELAY_SECONDS * 2 ** min(self.pauses, 30), max_delay_seconds)
        return Failures(self.count + 1, self.pauses + 1, reason, now + delay_seconds)


NONE = Failures()


class LaunchBackoff:
    """Refused launch requests, and failed starts of each release: another release may work."""

    def __init__(self) -> None:
        self._refusals = NONE
        self._starts: dict[int, Failures] = {}

    def most(self, now: float, release: int, booting: int = 0) -> int:
        """The most instances of a release that may be launched now, while `booting` of them have not reported yet."""
        starts = self.failed_starts(release)
        if now < max(self._refusals.not_before, starts.not_before):
            return 0
        return max(0, 1 - booting) if starts.pauses >= PAUSES_BEFORE_PROBING else sys.maxsize

    @property
    def refusals(self) -> Failures:
        """The launch requests in a row that EC2 did not fulfil."""
        return self._refusals

    def failed_starts(self, release: int) -> Failures:
        """The instances in a row that failed before they worked."""
        return self._starts.get(release, NONE)

    def granted(self) -> None:
        """Note a launch of all requested instances."""
        self._refusals = NONE

    def refused(self, now: float, reason: str, *, retryable: bool, some: bool = False) -> None:
        """Note a launch of fewer instances; if `some` were launched, more capacity may come soon."""
        before = NONE if some else self._refusals
        if retryable:
            self._refusals = before.more(now, reason, MAX_DELAY_SECONDS)
        else:
            self._refusals = Failures(before.count + 1, 0, reason, now + FATAL_DELAY_SECONDS)

    def start_failed(self, now: float, release: int, reason: str) -> None:
        """Note an instance that ended, or that does not work, before it has worked."""
        self._starts[release] = self.failed_starts(release).more(now, reason, MAX_START_DELAY_SECONDS)

    def works(self, release: int) -> None:
        """Note an instance that works: the release is launched without a pause again."""
        self._starts.pop(release, None)
