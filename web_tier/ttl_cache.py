"""A read-through cache whose values expire, for what many requests read from S3 and SQS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import cachetools

MAX_ENTRIES = 4096

P = ParamSpec("P")
V = TypeVar("V")


class TTLCache(Generic[P, V]):
    """Caches what `read` returns, by its arguments; safe to share between threads.

    What `read` raises is raised and not cached.  Of the entries beyond `max_entries` those that were used least
    recently are dropped.

    Args:
        read: reads a value.
        seconds: how old a value may be, counted from the *start* of its reading: a slow answer of S3 must not
            lengthen the time for which a revoked token is accepted.
        single_flight: where several threads miss the same entry, one reads and the others wait for its value.  If it
            fails they read one after the other, so this is for values that all requests share, not for tokens.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[P, V],
        seconds: float,
        *,
        single_flight: bool = False,
        max_entries: int = MAX_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def read_until(*args: P.args, **kwargs: P.kwargs) -> tuple[float, V]:
            started = clock()
            return started + seconds, read(*args, **kwargs)

        self._cache: cachetools.TLRUCache[object, tuple[float, V]] = cachetools.TLRUCache(
            max_entries, ttu=lambda _key, entry, _now: entry[0], timer=clock
        )
        self._lock = threading.Condition()
        self._get = cachetools.cached(self._cache, lock=self._lock, condition=self._lock if single_flight else None)(
            read_until
        )

    def get(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """The value for these arguments, read at most `seconds` ago."""
        return self._get(*args, **kwargs)[1]

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Drops the value for these arguments: the next call of `get` reads it."""
        with self._lock:
            self._cache.pop(self._get.cache_key(*args, **kwargs), None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)
