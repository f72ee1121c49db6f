"""Collect results for packs: in few objects, and the first after a pause without any delay."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

# The least time between two packs, unless one is full; viewers read a batch once a second.
PACK_SECONDS = 0.5
# How often a pack that fills looks whether the worker stops.
STOP_LOOK_SECONDS = 0.05

T = TypeVar("T")


class ResultPacker(Generic[T]):
    """Collect items from several threads into packs of at most `size`, each of one batch.

    Args:
        size: most items of a pack.
        batch_of: returns the batch of an item.
        stops: returns whether the worker stops, so that nothing is held back any more.
        clock: monotonic seconds.
    """

    def __init__(
        self, size: int, batch_of: Callable[[T], str], stops: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self.size = size
        self._batch_of = batch_of
        self._stops = stops
        self._clock = clock
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def put(self, item: T) -> None:
        """Add an item."""
        self._items.put(item)

    def end(self) -> None:
        """End `packs` after the items that were put before."""
        self._items.put(None)

    def packs(self) -> Iterator[list[T]]:
        """Yield packs as they are due, until `end`."""
        flushed_at = self._clock() - PACK_SECONDS
        while (first := self._items.get()) is not None:
            items, ended = self._collect(first, flushed_at + PACK_SECONDS)
            flushed_at = self._clock()
            by_batch: dict[str, list[T]] = {}
            for item in items:
                by_batch.setdefault(self._batch_of(item), []).append(item)
            yield from by_batch.values()
            if ended:
                return

    def _collect(self, first: T, due_at: float) -> tuple[list[T], bool]:
        """The items until `due_at`, and whether `end` was called meanwhile."""
        items = [first]
        while len(items) < self.size:
            left_seconds = 0.0 if self._stops() else max(0.0, due_at - self._clock())
            try:
                item = self._items.get(timeout=min(left_seconds, STOP_LOOK_SECONDS))
            except queue.Empty:
                if not left_seconds:
                    break
                continue
            if item is None:
                return items, True
            items.append(item)
        return items, False
