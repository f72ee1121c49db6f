"""Stores of access tokens and of their usage, in the state bucket."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

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
    """The number of images that a token uploaded on a day, such as ``2026-11-21``.

    `prepaid` of them have a permission to be sent to S3 directly, and no job yet.
    """

    day: str
    images: Count
    prepaid: Count = 0


class UsageStore:
    """Count the images that each token uploads in a day, in one object for each token, by conditional writes.

    A day is such as ``2026-11-21``.  A new day begins at nothing, and the stored day never goes back: a request that
    began before midnight, or on a machine whose clock is behind, is counted for the day that has begun.

    Every method raises `CloudError` where S3 fails, or too many requests count at the same time.

    Args:
        pause: waits so many seconds before another attempt.
    """

    def __init__(self, state: StateStore, pause: Callable[[float], None] = time.sleep) -> None:
        self._state = state
        self._pause = pause

    def take(self, token_id: str, day: str, wanted: int, limit: int) -> int:
        """Take up to `wanted` images of a day's `limit`; return how many, 0 if the limit is reached."""

        def change(usage: Usage) -> tuple[Usage, int]:
            granted = max(0, min(wanted, limit - usage.images))
            return dataclasses.replace(usage, images=usage.images + granted), granted

        return self._change(token_id, day, change)

    def prepay(self, token_id: str, day: str, wanted: int, limit: int) -> bool:
        """Take `wanted` images of a day's `limit`, whose jobs are enqueued later, or none; return whether."""

        def change(usage: Usage) -> tuple[Usage, int]:
            if usage.images + wanted > limit:
                return usage, 0
            images, prepaid = usage.images + wanted, usage.prepaid + wanted
            return dataclasses.replace(usage, images=images, prepaid=prepaid), wanted

        return self._change(token_id, day, change) == wanted

    def take_prepaid(self, token_id: str, day: str, wanted: int, limit: int) -> int:
        """Take up to `wanted` images to enqueue them: of those prepaid, then of the day's `limit`; return how many."""

        def change(usage: Usage) -> tuple[Usage, int]:
            prepaid = min(wanted, usage.prepaid)
            more = max(0, min(wanted - prepaid, limit - usage.images))
            changed = dataclasses.replace(usage, images=usage.images + more, prepaid=usage.prepaid - prepaid)
            return changed, prepaid + more

        return self._change(token_id, day, change)

    def give_back(self, token_id: str, day: str, count: int, *, prepaid: bool = False) -> None:
        """Return images that were taken on `day` and not used; those of a past day are not counted any more.

        Args:
            prepaid: they were taken by `prepay`.
        """

        def change(usage: Usage) -> tuple[Usage, int]:
            if usage.day != day:
                return usage, 0
            left = max(0, usage.prepaid - count) if prepaid else usage.prepaid
            return dataclasses.replace(usage, images=max(0, usage.images - count), prepaid=left), 0

        self._change(token_id, day, change)

    def _change(self, token_id: str, day: str, change: Callable[[Usage], tuple[Usage, int]]) -> int:
        key = USAGE.key_of(token_id)

        def attempt() -> int:
            found = self._state.get(key)
            usage = _usage_on(found.body if found else None, day)
            changed, result = change(usage)
            if changed == usage:
                return result
            if found is None:
                self._state.create(key, changed.encode())
            else:
                self._state.replace(key, changed.encode(), found.etag)
            return result

        return retry_on_conflict(
            attempt,
            _ATTEMPTS,
            "counting images: too many requests of one token at the same time",
            max_pause_seconds=_MAX_PAUSE_SECONDS,
            sleep=self._pause,
        )


def _usage_on(body: bytes | None, day: str) -> Usage:
    """The stored usage if it is of `day` or of the next, otherwise a new one."""
    if body is None:
        return Usage(day, 0)
    try:
        usage = Usage.decode(body)
        later = (date.fromisoformat(usage.day) - date.fromisoformat(day)).days
    except (DecodeError, ValueError) as error:
        log.warning("a count of images cannot be decoded and is reset: %s", error)
        return Usage(day, 0)
    # A day further ahead comes from a clock that was wrong, and would hold for so long.
    return usage if later in (0, 1) else Usage(day, 0)
