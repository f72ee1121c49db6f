"""Notify clients of completed batches, with a signed request to the address that was given with the batch.

Each pending webhook is a note in the state bucket (`core.webhooks`).  Before a request is sent, the note is replaced
conditionally by one with the time of the next attempt: two controllers do not send the same attempt, and the crash of
a controller loses none.  A receiver may therefore get a message twice, always with the same ``webhook-id``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from aws.buckets import ImageStore, ResultStore
from aws.state import StateStore
from core.batch_record import BatchRecord
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
# Webhooks of so many owners are sent at the same time, and those of one owner for so long in a round.
MAX_OWNERS_AT_A_TIME = 16
OWNER_SECONDS = 10.0
# The pause until an incomplete batch is looked at again: a part of its age, and no longer than this.
_LOOK_AGAIN_PART = 0.05
_LONGEST_LOOK_AGAIN_SECONDS = 300.0
# By so much, clocks of different machines may differ.
_CLOCK_SECONDS = 3600.0

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


@dataclass(frozen=True, slots=True)
class _Due:
    """A webhook that is to be sent now."""

    pending: PendingWebhook
    etag: str
    body: bytes
    owner: str


class Webhooks:
    """The periodic task that delivers pending webhooks.

    Several owners' webhooks are sent at the same time, those of one owner one after another, for at most
    `OWNER_SECONDS` in a round: a receiver that is slow delays only its owner's others.

    Args:
        clock: seconds since the epoch.
        monotonic: monotonic seconds.
    """

    def __init__(
        self,
        state: StateStore,
        images: ImageStore,
        results: ResultStore,
        send: Sender,
        clock: Callable[[], float],
        quiet_seconds: float = QUIET_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._images = images
        self._results = results
        self._send = send
        self._clock = clock
        self._quiet_seconds = quiet_seconds
        self._monotonic = monotonic
        # When to look at a note again.  A cache that saves requests: without an entry, it is only read once more.
        self._next_look_at: dict[str, float] = {}

    def round(self) -> bool:
        """Run one round over all pending webhooks; one that fails is logged and tried again in the next.

        Returns:
            Whether any were pending.

        Raises:
            RoundError: a webhook failed for another reason than its receiver.
            CloudError: the pending webhooks could not be listed.
        """
        guard = ItemGuard()
        now = self._clock()
        keys = [stored.key for stored in self._state.list(PENDING_WEBHOOKS)]
        self._next_look_at = {key: self._next_look_at[key] for key in keys if key in self._next_look_at}
        by_owner: dict[str, list[_Due]] = {}
        for key in keys:
            if now >= self._next_look_at.get(key, 0.0):
                with guard.item(key):
                    due = self._look_at(key)
                    if due is not None:
                        by_owner.setdefault(due.owner, []).append(due)
        if by_owner:
            with ThreadPoolExecutor(min(MAX_OWNERS_AT_A_TIME, len(by_owner)), thread_name_prefix="webhooks") as pool:
                outcomes = list(pool.map(self._deliver_in_turn, by_owner.values()))
            for key, error in chain.from_iterable(outcomes):
                with guard.item(key):
                    raise error
        guard.raise_failures()
        return bool(keys)

    def _look_at(self, key: str) -> _Due | None:
        found = self._state.get(key)
        if found is None:
            return None
        now = self._clock()
        try:
            pending = PendingWebhook.decode(found.body)
            if pending.key != key:
                raise DecodeError(f"a pending webhook of another batch, {pending.batch_id}")
            if pending.created_at > now + _CLOCK_SECONDS:
                raise DecodeError("a pending webhook of the future, which would be tried for ever")
        except DecodeError as error:
            log.error("%s: %s", key, error)
            self._state.delete(key)
            return None
        age = now - pending.created_at
        if age > GIVE_UP_SECONDS or pending.attempts >= MAX_ATTEMPTS:
            log.warning("%s: giving up after %d attempts", key, pending.attempts)
            self._state.delete(key)
        elif now < pending.not_before:
            # The next attempt may be another controller's, which then delays it further: not later than the longest.
            self._next_look_at[key] = min(pending.not_before, now + LONGEST_RETRY_SECONDS)
        elif (message := self._message(pending.batch_id, now)) is None:
            # A batch that has not been complete for long is less likely to be in the next seconds.
            self._next_look_at[key] = now + min(max(0.0, age) * _LOOK_AGAIN_PART, _LONGEST_LOOK_AGAIN_SECONDS)
        else:
            body, owner = message
            return _Due(pending, found.etag, body, owner)
        return None

    def _message(self, batch_id: str, now: float) -> tuple[bytes, str] | None:
        """The body of the request about a batch, and the batch's owner; None while the batch is not complete."""
        images = {stored.key: stored for stored in self._images.list(batch_id)}
        results = {stored.key: stored for stored in self._results.list(f"{batch_id}/")}
        if not results or not images.keys() <= results.keys():
            return None
        newest = max(stored.last_modified.timestamp() for stored in (*images.values(), *results.values()))
        if now - newest < self._quiet_seconds:
            return None
        try:
            record = self._images.read_batch(batch_id)
        except (NotFoundError, DecodeError):
            record = BatchRecord()  # nothing is known to have been announced
        if record.missing(len(results), newest, now) > 0:
            return None
        data = {"batch_id": batch_id, "accepted": len(results), "answered": len(results), "complete": True}
        # The timestamp is that of the batch, so that every attempt sends the same bytes.
        message = {"type": "batch.complete", "timestamp": int(newest), "data": data}
        return json.dumps(message, separators=(",", ":")).encode(), record.owner or ""

    def _deliver_in_turn(self, due: Sequence[_Due]) -> list[tuple[str, Exception]]:
        """Deliver webhooks of one owner; return the keys of those that failed for another reason than the receiver."""
        failures: list[tuple[str, Exception]] = []
        ends_at = self._monotonic() + OWNER_SECONDS
        for each in due:
            if self._monotonic() >= ends_at:
                break  # the next round goes on with the others
            try:
                self._deliver(each)
            except Exception as error:
                failures.append((each.pending.key, error))
        return failures

    def _deliver(self, due: _Due) -> None:
        pending, now = due.pending, self._clock()
        attempts = pending.attempts + 1
        claimed = dataclasses.replace(pending, attempts=attempts, not_before=now + retry_delay_seconds(attempts))
        try:
            self._state.replace(pending.key, claimed.encode(), due.etag)
        except ConflictError:
            return  # another controller sends it, or the batch was deleted
        headers = signed_headers(pending.secret, f"batch-complete-{pending.batch_id}", int(now), due.body)
        try:
            self._send(pending.url, {"Content-Type": "application/json", **headers}, due.body)
        except DeliveryError as error:
            log.warning("the webhook of batch %s (attempt %d): %s", pending.batch_id, attempts, error)
        else:
            log.info("the webhook of batch %s was delivered", pending.batch_id)
            self._state.delete(pending.key)
