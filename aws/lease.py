"""A lease that lets one controller act at a time: an object in the state bucket, written conditionally only.

The holder renews it every third of its time to live.  A waiting controller takes over when it has seen the same
version for a whole time to live, by its own monotonic clock: clocks of two machines are never compared.  The holder
counts from the moment *before* it wrote, the waiting controller from the moment *after* it read, and the holder stops
acting after two thirds; so however requests are delayed, no controller acts on a lease that another has taken.

While nothing is under way the holder claims the lease for longer (`QUIET_FACTOR`) and renews it as much less often.
A claim says how long it holds, and each write of a shorter one ends the longer one's right to act before it is sent, so
that the rule above holds for whatever of it takes effect.  A waiting controller takes over at once from a holder whose
process is known to have ended.

The holder can first write into the lease what it is about to do (`announce`).  A successful write proves that the
lease is held at that moment, and a controller that takes over finds the note and can complete the action.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from aws.state import StateObject
from core.errors import CloudError, ConflictError, DecodeError
from core.versioned_json import Count, Record, between, record

KEY = "controller/lease.json"
# No controller claims the lease for longer than a day; a longer claim must not keep every controller waiting.
_MAX_TTL_SECONDS = 86_400.0
_NEVER = float("-inf")
# While nothing is under way, a claim holds for so many times the time to live.
QUIET_FACTOR = 4

log = logging.getLogger(__name__)


class LeaseLostError(CloudError):
    """Another controller holds the lease."""


class Store(Protocol):
    """The methods of `aws.state.StateStore` that a lease uses."""

    def get(self, key: str) -> StateObject | None: ...
    def create(self, key: str, body: bytes) -> str: ...
    def replace(self, key: str, body: bytes, etag: str) -> str: ...


@record("a lease", version=1, max_bytes=64 * 1024)
@dataclass(frozen=True, slots=True)
class Claim(Record):
    """The stored form of the lease.  `generation` counts take-overs, `sequence` a holder's writes."""

    holder: str
    generation: Count
    sequence: Count
    ttl_seconds: Annotated[float, between(0, _MAX_TTL_SECONDS)]
    note: str = ""
    released: bool = False


class Lease:
    """The lease as one controller holds it or waits for it.

    Args:
        holder: a name that no other controller has, not even this one's earlier run.
        ttl_seconds: time to live.
        clock: monotonic seconds.
        has_ended: whether the process of another holder is known to have ended, so that it cannot act any more.

    Attributes:
        generation: of the claim held last; 0 before the first.
        note: the announcement, perhaps a predecessor's.  Assign "" when the announced action is complete; the next
            renewal stores that.
    """

    def __init__(
        self,
        store: Store,
        holder: str,
        ttl_seconds: float,
        clock: Callable[[], float],
        has_ended: Callable[[str], bool] = lambda holder: False,
    ) -> None:
        self.holder = holder
        self.generation = 0
        self.note = ""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._quiet_ttl_seconds = max(ttl_seconds, min(ttl_seconds * QUIET_FACTOR, _MAX_TTL_SECONDS))
        self._clock = clock
        self._has_ended = has_ended
        self._sequence = 0
        self._etag = ""  # of the version that this controller wrote last; empty while it does not hold the lease
        self._renewed_at = _NEVER
        self._acts_until = _NEVER
        self._claimed_seconds = ttl_seconds  # by the version that this controller wrote last
        self._seen_etag = ""
        self._seen_at = _NEVER
        self._looked_at = _NEVER

    def held(self) -> bool:
        """Whether this controller may act at this moment."""
        return bool(self._etag) and self._clock() < self._acts_until

    def step(self, *, quiet: bool = False) -> bool:
        """Renew, wait for or take over the lease, whichever is due; return `held`.

        Args:
            quiet: nothing is under way, so that the lease may be claimed for longer and renewed less often.

        Raises:
            CloudError: S3 failed; `held` is still correct.
        """
        now = self._clock()
        if self._etag:
            ttl_seconds = self._quiet_ttl_seconds if quiet else self._ttl_seconds
            if now >= self._renewed_at + min(ttl_seconds, self._claimed_seconds) / 3:
                self._write(self.generation, self._etag, ttl_seconds)
        elif now >= self._looked_at + self._ttl_seconds / 10:
            self._looked_at = now
            self._look()
        return self.held()

    def announce(self, note: str) -> None:
        """Write `note` into the lease, which renews it.

        Raises:
            LeaseLostError: the lease is not held; the announced action must not be carried out.
            CloudError: S3 failed; the action must not be carried out either.
        """
        if not self.held():
            raise LeaseLostError()
        self.note = note
        if not (self._write(self.generation, self._etag, self._ttl_seconds) and self.held()):
            raise LeaseLostError()

    def release(self) -> None:
        """Release the lease, so that another controller can take over at once.

        Raises:
            CloudError: S3 failed; the lease ends after its time to live.
        """
        etag, self._etag = self._etag, ""
        if etag:
            self._sequence += 1
            claim = Claim(self.holder, self.generation, self._sequence, self._ttl_seconds, self.note, released=True)
            self._store.replace(KEY, claim.encode(), etag)

    def _look(self) -> None:
        """Read the lease, and take it over if it is free, released or has ended."""
        found = self._store.get(KEY)
        now = self._clock()
        if found is None:
            self._write(1, "", self._ttl_seconds)
            return
        if found.etag != self._seen_etag:
            self._seen_etag, self._seen_at = found.etag, now
        claim = _decode(found)
        over = now >= self._seen_at + max(self._ttl_seconds, claim.ttl_seconds)
        # The holder may be this controller: its write took effect, but the response was lost.
        if claim.released or over or claim.holder == self.holder or self._has_ended(claim.holder):
            self.note = claim.note
            self._write(claim.generation + 1, found.etag, self._ttl_seconds)

    def _write(self, generation: int, etag: str, ttl_seconds: float) -> bool:
        """Write a claim in place of the version `etag` (empty: of no object); return whether it is stored.

        If another controller wrote first, the lease is lost, which is no error.
        """
        started = self._clock()
        acts_until = started + ttl_seconds * 2 / 3
        # This claim may take effect although no response says so, and others then wait no longer than for this one.
        self._acts_until = min(self._acts_until, acts_until)
        self._claimed_seconds = min(self._claimed_seconds, ttl_seconds)
        self._sequence += 1
        body = Claim(self.holder, generation, self._sequence, ttl_seconds, self.note).encode()
        for _attempt in range(2):
            try:
                written = self._store.replace(KEY, body, etag) if etag else self._store.create(KEY, body)
            except ConflictError:
                found = self._store.get(KEY)
                claim = None if found is None else _decode(found)
                if found is None or claim is None or (claim.holder, claim.generation) != (self.holder, generation):
                    break
                if claim.sequence != self._sequence:
                    etag = found.etag  # of this controller's earlier write, whose response was lost
                    continue
                written = found.etag  # of this write: its response was lost, and botocore's retry found its effect
            self._etag, self.generation, self._renewed_at = written, generation, started
            self._acts_until, self._claimed_seconds = acts_until, ttl_seconds
            return True
        self._etag = ""
        return False


def _decode(found: StateObject) -> Claim:
    """Decode the claim in a lease object.

    An unreadable one counts as the claim of an unknown holder: it is respected for a time to live, since a newer
    version of the program may have written it, and then replaced.
    """
    try:
        return Claim.decode(found.body)
    except DecodeError as error:
        log.warning("%s: %s", KEY, error)
        return Claim("", 0, 0, 0.0)
