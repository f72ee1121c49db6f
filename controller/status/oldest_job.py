"""The age of the oldest job, estimated from counts: while no worker receives jobs, no worker can report it.  No I/O."""

from __future__ import annotations

# With more growths of the queue than this, every second one is forgotten.
MAX_ARRIVALS = 500


class OldestJob:
    """Estimate how long the oldest job has been waiting, if jobs are answered in the order of their arrival."""

    def __init__(self) -> None:
        # When the queue had grown, and how many jobs had arrived by then, in order; the first is not answered yet.
        self._arrivals: list[tuple[float, int]] = []

    def age_seconds(self, backlog: int, answered: int, now: float) -> float | None:
        """The time since the oldest job was first observed; None without a backlog.

        Args:
            backlog: jobs that are waiting or in flight.
            answered: jobs that were answered, counted from an arbitrary start.
            now: monotonic seconds.
        """
        if not backlog:
            self._arrivals.clear()
            return None
        arrived = backlog + answered
        while self._arrivals and self._arrivals[0][1] <= answered:
            del self._arrivals[0]
        if not self._arrivals or arrived > self._arrivals[-1][1]:
            self._arrivals.append((now, arrived))
        if len(self._arrivals) > MAX_ARRIVALS:
            del self._arrivals[1:-1:2]
        return now - self._arrivals[0][0]
