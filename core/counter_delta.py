"""Increases of counters that live in another process and restart with it: a worker's answers since its start.

Every report carries totals.  What is new in a report is its total less the last one of the same source, or all of it
where the source has restarted in between.
"""

from __future__ import annotations

from collections.abc import Container, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar


class Counts(Protocol):
    """Totals that only grow, such as `collections.Counter`: a difference has no negative counts."""

    def __sub__(self, other: Self, /) -> Self:
        """What there is more than in `other`, never less than nothing."""
        ...

    def __or__(self, other: Self, /) -> Self:
        """The larger of each two counts."""
        ...


CountsT = TypeVar("CountsT", bound=Counts)


@dataclass(frozen=True, slots=True)
class _Known(Generic[CountsT]):
    run: Hashable
    reported: CountsT
    total: CountsT  # what has been counted; more than `reported` where a report came after its successor


class CounterDelta(Generic[CountsT]):
    """The increase of the counters of many sources from one report to the next.

    Args:
        zero: where a counter begins.
    """

    def __init__(self, zero: CountsT) -> None:
        self._zero = zero
        self._known: dict[str, _Known[CountsT]] = {}

    def take(self, source: str, run: Hashable, total: CountsT, *, counted_before: bool = False) -> CountsT:
        """Take in a report; return what is new in it.

        Args:
            run: identifies what the counters began with, such as the start of the worker; another run counts from zero.
            total: everything since the beginning of this run.
            counted_before: where this is the source's first report here: what it holds was counted elsewhere already.
        """
        known = self._known.get(source)
        if known is None:
            before = total if counted_before else self._zero
        elif known.run == run:
            if known.reported is total:  # the same report again
                return self._zero
            before = known.total
        else:
            before = self._zero
        self._known[source] = _Known(run, total, total | before)
        return total - before

    def forget(self, source: str) -> None:
        """Forget a source; its next report is a first one."""
        self._known.pop(source, None)

    def keep_only(self, sources: Container[str]) -> None:
        """Forget all other sources."""
        self._known = {source: known for source, known in self._known.items() if source in sources}

    def clear(self) -> None:
        """Forget all sources."""
        self._known.clear()
