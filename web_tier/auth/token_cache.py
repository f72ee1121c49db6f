"""Access tokens and ended sessions as this process remembers them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from core.tokens import AccessToken

# A revoked token, or a session that was ended in another process, is refused after so long at the latest.
CACHE_SECONDS = 5.0
_CACHED = 4096
_TOLD_AGAIN_SECONDS = 3600.0

K = TypeVar("K")
V = TypeVar("V")


class TTLCache(Generic[V]):
    """Values by their keys, each asked for at most every few seconds; safe to share between threads.

    Args:
        find: reads a value.
        seconds: how long a value is taken for true.
        clock: monotonic seconds.
    """

    def __init__(
        self, find: Callable[[str], V], seconds: float = CACHE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str) -> V:
        """A value, as it was at most `seconds` ago; what finding it raises is raised and not remembered."""
        with self._lock:
            known = self._known.get(key)
        asked = self._clock()
        if known is not None and asked - known[0] < self._seconds:
            return known[1]
        value = self._find(key)
        with self._lock:
            _remember(self._known, key, (asked, value))
        return value

    def forget(self, key: str) -> None:
        """Has a value found anew when it is next asked for."""
        with self._lock:
            self._known.pop(key, None)


class TokenCache(TTLCache[AccessToken | None]):
    """Access tokens by their ids, None where there is none, and from where they were used."""

    def __init__(self, find: Callable[[str], AccessToken | None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(find, clock=clock)
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_news(self, token_id: str, address: str) -> bool:
        """Whether this process has not met a token from this address for an hour."""
        now = self._clock()
        with self._lock:
            told = self._told.get((token_id, address))
            if told is not None and now - told < _TOLD_AGAIN_SECONDS:
                return False
            _remember(self._told, (token_id, address), now)
        return True


def _remember(cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > _CACHED:
        cache.popitem(last=False)
