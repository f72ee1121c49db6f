"""Rate limits by token and by address, counted with `limits` in this process or in a store that all share."""

from __future__ import annotations

import math
import time

from flask import request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from werkzeug.exceptions import ServiceUnavailable, TooManyRequests

from core.settings import Settings
from web_tier.security import audit_log

_SENTENCES = {
    "minute": "too many requests in a minute; please wait a little",
    "hour": "too many requests in an hour; please wait a little",
}


class RateLimits:
    """The rate limits of an application; safe to share between threads.

    Every method aborts the request with 429 where a limit is exceeded, and with 503 where the store does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        storage = storage_from_string(settings.rate_limit_storage, wrap_exceptions=True)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._requests = RateLimitItemPerMinute(settings.requests_per_minute, namespace="requests")
        self._unauthenticated = RateLimitItemPerMinute(
            settings.stranger_requests_per_minute, namespace="unauthenticated"
        )
        self._sign_ins = RateLimitItemPerMinute(settings.sign_ins_per_minute, namespace="sign-ins")
        self._batches = RateLimitItemPerHour(settings.batches_per_hour, namespace="batches")

    def count_request(self, token_id: str) -> None:
        """Counts a request that a token authenticates."""
        self._hit(self._requests, token_id)

    def check_unauthenticated(self) -> None:
        """Refuses an address with too many unauthenticated requests, before its token is looked up in S3."""
        try:
            allowed = self._limiter.test(self._unauthenticated, _address())
        except StorageError as error:
            raise _store_unavailable() from error
        if not allowed:
            self._refuse(self._unauthenticated, _address())

    def count_unauthenticated(self) -> None:
        """Counts a request without a valid token."""
        self._hit(self._unauthenticated, _address())

    def count_sign_in(self) -> None:
        """Counts an attempt to sign in."""
        self._hit(self._sign_ins, _address())

    def count_batch(self, owner: str) -> None:
        """Counts a batch that an owner creates."""
        self._hit(self._batches, owner)

    def _hit(self, item: RateLimitItem, client: str) -> None:
        try:
            allowed = self._limiter.hit(item, client)
        except StorageError as error:
            raise _store_unavailable() from error
        if not allowed:
            self._refuse(item, client)

    def _refuse(self, item: RateLimitItem, client: str) -> None:
        audit_log.record("rate_limit", "refused", limit=str(item))
        # The window slides: another request may be allowed earlier than this, but not surely.
        seconds = math.ceil(self._limiter.get_window_stats(item, client).reset_time - time.time())
        raise TooManyRequests(
            _SENTENCES[item.GRANULARITY.name],
            retry_after=min(max(1, seconds), item.get_expiry()),
        )


def _address() -> str:
    return request.remote_addr or "unknown"


def _store_unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("the store of rate limits does not answer; please try again soon", retry_after=5)
