"""Stores of access tokens and of their usage, in the state bucket."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aws.conflict_retry import retry_on_conflict
from aws.state import StateStore
from core.errors import DecodeError
from core.object_keys import TOKENS, USAGE
from core.tokens import AccessToken, is_token_id, key_of
from core.versioned_json import Count, Record, record

_ATTEMPTS = 12
_MAX_PAUSE_SECONDS = 0.2

log = logging.getLogger(__name__)


class TokenStore:
    """Add, find, list and revoke access tokens.

    Every method raises `CloudError` where S3 fails.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def add(self, token: AccessToken) -> None:
        """Store a token's record."""
        self._state.put(token.key, token.encode())

    def find(self, token_id: str) -> AccessToken | None:
        """Find a token by its id; None if there is none, it was revoked or its record cannot be decoded."""
        found = self._state.get(key_of(token_id)) if is_token_id(token_id) else None
        if found is None:
            return None
        try:
            token = AccessToken.decode(found.body)
            if token.token_id != token_id:
                raise DecodeError("the record of another token")
        except DecodeError as error:
            log.warning("%s: %s", key_of(token_id), error)
            return None
        return token

    def all(self) -> Iterator[AccessToken]:
        """Iterate over the tokens whose records can be decoded, in the order of their ids."""
        for stored in self._state.list(TOKENS):
            token = self.find(TOKENS.name_of(stored.key))
            if token is not None:
                yield token

    def revoke(self, token_id: str) -> bool:
        """Delete a token's record and its usage; return False if there was none."""
        if not is_token_id(token_id) or self._state.get(key_of(token_id)) is None:
            return False
        self._state.delete(key_of(token_id))
        self._state.delete(USAGE.key_of(token_id))
        return True


@record("a count of images", version=1, max_bytes=4096)
@dataclass(frozen=True, slots=True)
class Usage(Record):
    """The number of images that a token uploaded on a day, such as ``2026-11-21``."""

    day: str
    images: Count


class UsageStore:
    """Count the images that each token uploads in a day, in one object for each token, by conditional writes.

    Args:
        pause: waits so many seconds before another attempt.
    """

    def __init__(self, state: StateStore, pause: Callable[[float], None] = time.sleep) -> None:
        self._state = state
        self._pause = pause

    def take(self, token_id: str, day: str, wanted: int, limit: int) -> int:
        """Reserve up to `wanted` images of a day's `limit`; return how many, 0 if the limit is reached.

        A negative number returns reserved images.

        Args:
            day: such as ``2026-11-21``; the stored count of another day is discarded.

        Raises:
            CloudError: S3 failed, or too many requests counted at the same time.
        """
        return retry_on_conflict(
            lambda: self._take(token_id, day, wanted, limit),
            _ATTEMPTS,
            "counting images: too many requests of one token at the same time",
            max_pause_seconds=_MAX_PAUSE_SECONDS,
            sleep=self._pause,
        )

    def _take(self, token_id: str, day: str, wanted: int, limit: int) -> int:
        key = USAGE.key_of(token_id)
        found = self._state.get(key)
        used = _images_of(found.body, day) if found else 0
        granted = max(wanted, -used) if wanted < 0 else max(0, min(wanted, limit - used))
        if granted:
            body = Usage(day, used + granted).encode()
            if found is None:
                self._state.create(key, body)
            else:
                self._state.replace(key, body, found.etag)
        return granted


def _images_of(body: bytes, day: str) -> int:
    try:
        usage = Usage.decode(body)
    except DecodeError as error:
        log.warning("a count of images cannot be decoded and is reset: %s", error)
        return 0
    return usage.images if usage.day == day else 0
