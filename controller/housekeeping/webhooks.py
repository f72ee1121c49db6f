"""Notify clients of completed batches, with a signed request to the address that was given with the batch.

Each pending webhook is a note in the state bucket (`core.webhooks`).  Before a request is sent, the note is replaced
conditionally by one with the time of the next attempt: two controllers do not send the same attempt, and the crash of
a controller loses none.  A receiver may therefore get a message twice, always with the same ``webhook-id``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Protocol

from aws.buckets import ImageStore, ResultStore
from aws.state import StateStore
from core.errors import ConflictError, DecodeError, NotFoundError
from core.object_keys import PENDING_WEBHOOKS
from core.periodic_task import ItemGuard
from core.webhooks import PendingWebhook, signed_headers

# A batch is taken for complete when nothing was added for this long: its images may come in several requests.
QUIET_SECONDS = 10.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 15.0, 3600.0
# With the delays above, about four hours pass until the last attempt.
MAX_ATTEMPTS = 12
# The same time for which the janitor checks a batch (`janitor.LOOK_BACK`).
GIVE_UP_SECONDS = 24 * 3600.0

log = logging.getLogger(__name__)


class Sender(Protocol):
    """Send one request."""

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        """Post `body`.

        Raises:
            DeliveryError: the receiver is not allowed, could not be reached, or did not respond with 2xx.
        """
        ...


class DeliveryError(Exception):
    """A webhook could not be delivered; the message is one sentence."""


def retry_delay_seconds(attempts: int) -> float:
    """The delay after this many attempts; it doubles from `FIRST_RETRY_SECONDS` on."""
    return float(min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), LONGEST_RETRY_SECONDS))


class Webhooks:
    """The periodic task that delivers pending webhooks.

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
            RoundError: a webhook failed for another reason than its receiver.
            CloudError: the pending webhooks could not be listed.
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
        """The body of the request about a batch; None while the batch is not complete."""
        images = {stored.key: stored for stored in self._images.list(batch_id)}
        results = {stored.key: stored for stored in self._results.list(f"{batch_id}/")}
        if not results or not images.keys() <= results.keys():
            return None
        newest = max(stored.last_modified.timestamp() for stored in (*images.values(), *results.values()))
        if now - newest < self._quiet_seconds or self._is_awaited(batch_id, len(results), newest, now):
            return None
        data = {"batch_id": batch_id, "accepted": len(results), "answered": len(results), "complete": True}
        # The timestamp is that of the batch, so that every attempt sends the same bytes.
        message = {"type": "batch.complete", "timestamp": int(newest), "data": data}
        return json.dumps(message, separators=(",", ":")).encode()

    def _is_awaited(self, batch_id: str, accepted: int, newest: float, now: float) -> bool:
        """Whether announced images of a batch are still expected; see `BatchRecord.missing`."""
        try:
            return self._images.read_batch(batch_id).missing(accepted, newest, now) > 0
        except (NotFoundError, DecodeError):
            return False  # nothing is known to have been announced

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
