"""Limits on the memory that requests hold at the same time in one process.

Each request has limits of its own; these bound the sum.  `MemoryBudget` counts bytes that are reserved before they are
used.  `SpooledFile` keeps small files in memory while its budget lasts, and on disk otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import SpooledTemporaryFile
from typing import Any

from core.errors import ElasticError, SpoolError

_MIB = 1024 * 1024
# Most photos fit; larger ones go to a temporary file on disk.
SPOOL_BYTES = _MIB
# Bytes of small files that all requests of this process hold in memory together.
SPOOL_MEMORY_BYTES = 64 * _MIB


class MemoryBusyError(ElasticError):
    """the server is busy with other large requests; please try again soon"""


class Reservation:
    """Bytes that one request has reserved of a budget."""

    def __init__(self, budget: MemoryBudget, owner: str, size_bytes: int) -> None:
        self._budget = budget
        self._owner = owner
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """Return all but `size_bytes` to the budget; 0 returns everything, and repeating it is harmless."""
        surplus = max(0, self._size_bytes - size_bytes)
        self._size_bytes -= surplus
        self._budget.release(self._owner, surplus)


class MemoryBudget:
    """A number of bytes that requests share; safe to share between threads.

    An owner that holds something already may hold at most half, so that one owner's requests do not keep out those of
    all others.

    Args:
        max_wait_seconds: how long a request waits for others to finish.
    """

    def __init__(self, limit_bytes: int, max_wait_seconds: float = 10.0) -> None:
        self.limit_bytes = limit_bytes
        self._max_wait_seconds = max_wait_seconds
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()

    @property
    def held_bytes(self) -> int:
        """How many bytes are reserved."""
        with self._changed:
            return self._held.total()

    def reserve(self, owner: str, size_bytes: int) -> Reservation:
        """Reserve bytes for a request; waits while others hold too many.

        Raises:
            MemoryBusyError: there was not enough room in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(owner, size_bytes), self._max_wait_seconds):
                raise MemoryBusyError
            self._held[owner] += size_bytes
        return Reservation(self, owner, size_bytes)

    @contextmanager
    def holding(self, owner: str, size_bytes: int) -> Iterator[Reservation]:
        """Reserve bytes for the duration of the context; raises as `reserve` does."""
        reservation = self.reserve(owner, size_bytes)
        try:
            yield reservation
        finally:
            reservation.shrink(0)

    def try_reserve(self, size_bytes: int) -> bool:
        """Reserve bytes at once, or return False."""
        with self._changed:
            if self._held.total() + size_bytes > self.limit_bytes:
                return False
            self._held[""] += size_bytes
            return True

    def release(self, owner: str, size_bytes: int) -> None:
        """Return reserved bytes; an owner that holds none is forgotten."""
        if not size_bytes:
            return
        with self._changed:
            self._held[owner] -= size_bytes
            if self._held[owner] <= 0:
                del self._held[owner]
            self._changed.notify_all()

    def _fits(self, owner: str, size_bytes: int) -> bool:
        held = self._held.get(owner, 0)
        if held and held + size_bytes > self.limit_bytes // 2:
            return False
        return self._held.total() + size_bytes <= self.limit_bytes


SPOOL_MEMORY = MemoryBudget(SPOOL_MEMORY_BYTES)


class SpooledFile(SpooledTemporaryFile[bytes]):
    """A temporary file: in memory up to `SPOOL_BYTES` and while `SPOOL_MEMORY` lasts, then on disk.

    Its consumer closes it.
    """

    def __init__(self, budget: MemoryBudget = SPOOL_MEMORY) -> None:
        super().__init__(max_size=SPOOL_BYTES)
        self._budget = budget
        self._reserved_bytes = 0
        self._in_memory = True

    def append(self, data: bytes) -> None:
        """Write `data` at the end.

        Raises:
            SpoolError: the disk is full.
        """
        try:
            if self._in_memory:
                if self._budget.try_reserve(len(data)):
                    self._reserved_bytes += len(data)
                else:
                    self.rollover()
            self.write(data)
        except OSError as error:
            raise SpoolError from error

    def rewind(self) -> None:
        """Go to the start, to read what was written.

        Raises:
            SpoolError: the disk is full: what was buffered could not be written.
        """
        try:
            self.flush()
            self.seek(0)
        except OSError as error:
            raise SpoolError from error

    def rollover(self) -> None:
        """Move the file to disk."""
        self._in_memory = False
        super().rollover()
        self._release()

    def close(self) -> None:
        """Delete the file."""
        self._release()
        # On a full disk, what is buffered cannot be written; the file is closed all the same.
        with suppress(OSError):
            super().close()

    def __exit__(self, *_error: Any) -> None:
        self.close()

    def _release(self) -> None:
        reserved, self._reserved_bytes = self._reserved_bytes, 0
        self._budget.release("", reserved)
