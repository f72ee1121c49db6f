"""Access tokens and ended sessions as this process has cached them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cachetools

from core.tokens import AccessToken
from web_tier.ttl_cache import MAX_ENTRIES, TTLCache

# A revoked token, or a session that was ended in another process, is refused after so long at the latest.
CACHE_SECONDS = 5.0
# A token's use from the same address is audited once in so long.
_SAME_ADDRESS_SECONDS = 3600.0


class TokenCache(TTLCache[[str], AccessToken | None]):
    """Access tokens by their ids, None where there is none, and the addresses from which they were used.

    Args:
        find: reads a token.
        clock: monotonic seconds.
    """

    def __init__(self, find: Callable[[str], AccessToken | None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(find, CACHE_SECONDS, clock=clock)
        self._addresses: cachetools.TTLCache[tuple[str, str], None] = cachetools.TTLCache(
            MAX_ENTRIES, _SAME_ADDRESS_SECONDS, timer=clock
        )
        self._addresses_lock = threading.Lock()

    def is_new_address(self, token_id: str, address: str) -> bool:
        """Whether this process has not seen a token used from this address for an hour; records the use."""
        use = (token_id, address)
        with self._addresses_lock:
            if use in self._addresses:
                return False
            self._addresses[use] = None
        return True
