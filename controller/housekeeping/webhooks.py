"""Tells of completed batches: signed requests to the addresses that were given with them.

A note in the state bucket says what is still to be told (`core.webhooks`).  Before a request is sent, its note is
replaced conditionally by one that says when the next attempt may begin: two controllers do not send the same attempt,
and one that dies loses none.  A receiver may so get a message twice, always under the same ``webhook-id``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Protocol

from aws.buckets import ImageStore, ResultStore
from aws.state import StateStore
from core.errors import ConflictError, DecodeError
from core.object_keys import PENDING_WEBHOOKS
from core.periodic_task import ItemGuard
from core.webhooks import PendingWebhook, signed_headers

# A batch that has been quiet for so long is taken for complete: its images may come in several requests.
QUIET_SECONDS = 10.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 15.0, 3600.0
# With the delays above: about four hours of trying.
MAX_ATTEMPTS = 12
# As long as the janitor looks after batches.
GIVE_UP_SECONDS = 24 * 3600.0

log = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends one request."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        """Posts `body`.

        Raises:
            DeliveryError: the receiver could not be reached, may not be, or did not answer with 2xx.
        """
        ...


class DeliveryError(Exception):
    """A webhook could not be delivered; the message is one sentence."""


def retry_delay_seconds(attempts: int) -> float:
    """How long to wait after so many attempts: doubling from `FIRST_RETRY_SECONDS`."""
    return float(min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS))


class Webhooks:
    """Delivers what is pending.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        state: StateStore,
        images: ImageStore,
        results: ResultStore,
        send: Sender,
        clock: Callable[[], float],
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._state = state
        self._images = images
        self._results = results
        self._send = send
        self._clock = clock
        self._quiet_seconds = quiet_seconds

    def round(self) -> None:
        """Run one round over all pending webhooks; one that fails is logged and tried again in the next.

        Raises:
            RoundError: a webhook failed here, not at its receiver.
            CloudError: they could not be listed.
        """
        guard = ItemGuard()
        for stored in self._state.list(PENDING_WEBHOOKS):
            with guard.item(stored.key):
                self._look_at(stored.key)
        guard.raise_failures()

    def _look_at(self, key: str) -> None:
        found = self._state.get(key)
        if found is None:
            return
        try:
            pending = PendingWebhook.decode(found.body)
            if pending.key != key:
                raise DecodeError(f"a pending webhook of another batch, {pending.batch_id}")
        except DecodeError as error:
            log.error("%s: %s", key, error)
            self._state.delete(key)
            return
        now = self._clock()
        if now - pending.created_at > GIVE_UP_SECONDS or pending.attempts >= MAX_ATTEMPTS:
            log.warning("%s: giving up after %d attempts", key, pending.attempts)
            self._state.delete(key)
        elif now >= pending.not_before and (body := self._message(pending.batch_id, now)) is not None:
            self._deliver(pending, found.etag, body, now)

    def _message(self, batch_id: str, now: float) -> bytes | None:
        """What is told of a batch; None while it is not complete."""
        images = {stored.key: stored for stored in self._images.list(batch_id)}
        results = {stored.key: stored for stored in self._results.list(f"{batch_id}/")}
        if not results or not images.keys() <= results.keys():
            return None
        newest = max(stored.last_modified.timestamp() for stored in (*images.values(), *results.values()))
        if now - newest < self._quiet_seconds:
            return None
        data = {"batch_id": batch_id, "accepted": len(results), "answered": len(results), "complete": True}
        # The time is the batch's, not the attempt's: every attempt sends the same bytes.
        message = {"type": "batch.complete", "timestamp": int(newest), "data": data}
        return json.dumps(message, separators=(",", ":")).encode()

    def _deliver(self, pending: PendingWebhook, etag: str, body: bytes, now: float) -> None:
        attempts = pending.attempts + 1
        claimed = dataclasses.replace(pending, attempts=attempts, not_before=now + retry_delay_seconds(attempts))
        try:
            self._state.replace(pending.key, claimed.encode(), etag)
        except ConflictError:
            return  # another controller sends it, or the batch was deleted
        headers = signed_headers(pending.secret, f"batch-complete-{pending.batch_id}", int(now), body)
        try:
            self._send(pending.url, {"Content-Type": "application/json", **headers}, body)
        except DeliveryError as error:
            log.warning("the webhook of batch %s (attempt %d): %s", pending.batch_id, attempts, error)
        else:
            log.info("the webhook of batch %s was delivered", pending.batch_id)
            self._state.delete(pending.key)
