"""The pace of housekeeping: while nothing is under way, rounds that list a bucket run so many times less often.

What such a round finds was left by something that was under way: an image that is answered needs an instance, and a job
without one is in the backlog.  Only an upload whose web tier ended before it sent the job is not seen so; it waits for
`QUIET_FACTOR` intervals at most.
"""

from __future__ import annotations

from collections.abc import Callable

QUIET_FACTOR = 10
# Nothing has been under way for so long: results, webhooks and tables of the last batch are complete.
QUIET_AFTER_SECONDS = 60.0


class Pace:
    """Whether something is under way, as the control loop notes it; safe to share between threads.

    Args:
        interval_seconds: pause between two rounds of a task.
        clock: monotonic seconds.
    """

    def __init__(self, interval_seconds: float, clock: Callable[[], float]) -> None:
        self._quiet_interval_seconds = interval_seconds * QUIET_FACTOR
        self._slack_seconds = interval_seconds / 2
        self._clock = clock
        self._busy_at = clock()
        self._noted_at = float("-inf")

    def note(self, quiet: bool) -> None:
        """Note whether a pass of the control loop found nothing under way; without the lease it does not know."""
        self._noted_at = self._clock()
        if not quiet:
            self._busy_at = self._noted_at

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has been under way for long enough, and the control loop still looks."""
        now = self._clock()
        return now - self._busy_at >= QUIET_AFTER_SECONDS and now - self._noted_at < QUIET_AFTER_SECONDS

    def paced(self, round: Callable[[], object]) -> Callable[[], object]:
        """Return `round` so that it does nothing while its next run is not due.

        Args:
            round: the work; it returns a true value while something that it found is pending, which keeps its pace.
        """
        ran_at, pending = float("-inf"), True

        def run() -> object:
            nonlocal ran_at, pending
            now = self._clock()
            if self.is_quiet and not pending and now - ran_at < self._quiet_interval_seconds - self._slack_seconds:
                return pending
            ran_at, pending = now, True  # a round that fails is repeated after the usual pause
            pending = bool(round())
            return pending

        return run
