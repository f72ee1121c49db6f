"""Increases of counters that another process reports as totals, such as the images a worker has answered.

A report carries the totals since its source started.  The increase is the reported total less the previous total of
the same source, or the whole total if the source has restarted in between.
"""

from __future__ import annotations

from collections.abc import Container, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar


class Counts(Protocol):
    """Totals that only grow, such as `collections.Counter`: a difference has no negative counts."""

    def __sub__(self, other: Self, /) -> Self:
        """The increase of each count from `other`; never negative."""
        ...

    def __or__(self, other: Self, /) -> Self:
        """The larger of each pair of counts."""
        ...


CountsT = TypeVar("CountsT", bound=Counts)


@dataclass(frozen=True, slots=True)
class _LastReport(Generic[CountsT]):
    run: Hashable
    reported: CountsT
    total: CountsT  # the largest totals so far: more than `reported` where reports arrived out of order


class CounterDelta(Generic[CountsT]):
    """Compute the increase of each source's counters from one report to the next.

    Args:
        zero: the totals of a source that has counted nothing.
    """

    def __init__(self, zero: CountsT) -> None:
        self._zero = zero
        self._last_reports: dict[str, _LastReport[CountsT]] = {}

    def take(self, source: str, run: Hashable, total: CountsT, *, counted_before: bool = False) -> CountsT:
        """Record a report and return the increase since the source's previous one.

        Args:
            run: identifies one run of the source, such as its time of start; another run counts from zero.
            total: the totals since the beginning of this run.
            counted_before: if this is the source's first report here, its totals were counted elsewhere already and
                are not returned as an increase.
        """
        last = self._last_reports.get(source)
        if last is None:
            before = total if counted_before else self._zero
        elif last.run == run:
            if last.reported is total:  # the same report again
                return self._zero
            before = last.total
        else:
            before = self._zero
        self._last_reports[source] = _LastReport(run, total, total | before)
        return total - before

    def forget(self, source: str) -> None:
        """Forget a source; its next report counts as its first."""
        self._last_reports.pop(source, None)

    def keep_only(self, sources: Container[str]) -> None:
        """Forget all other sources."""
        self._last_reports = {source: last for source, last in self._last_reports.items() if source in sources}

    def clear(self) -> None:
        """Forget all sources."""
        self._last_reports.clear()
