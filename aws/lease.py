"""One controller at a time: a lease, an object in the state bucket that is only ever written conditionally.

The holder renews it every third of its time to live.  Whoever waits takes over when it has seen the same version for
a whole time to live, by its own monotonic clock: no two machines' clocks are ever compared.  The holder counts from
the moment *before* it wrote, the waiting one from the moment *after* it read, and the holder stops acting after two
thirds; so however requests are delayed, nobody acts on a lease that another has taken.

What the holder is about to do can be written into the lease first (`announce`).  That write is the proof that the
lease is held at that moment, and whoever takes over finds the note and can bring the matter to an end.
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
# A claim for longer than a day is not ours: it must not keep every controller waiting.
_MAX_TTL_SECONDS = 86_400.0
_NEVER = float("-inf")

log = logging.getLogger(__name__)


class LeaseLostError(CloudError):
    """Another controller holds the lease."""


class Store(Protocol):
    """What a lease asks of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def create(self, key: str, body: bytes) -> str: ...
    def replace(self, key: str, body: bytes, etag: str) -> str: ...


@record("a lease", version=1, max_bytes=64 * 1024)
@dataclass(frozen=True, slots=True)
class Claim(Record):
    """The lease as it is stored.  `generation` counts take-overs, `sequence` a holder's writes."""

    holder: str
    generation: Count
    sequence: Count
    ttl_seconds: Annotated[float, between(0, _MAX_TTL_SECONDS)]
    note: str = ""
    released: bool = False


class Lease:
    """A controller's view of the lease.

    Args:
        holder: a name that no other controller has, not even this one's earlier run.
        ttl_seconds: time to live.
        clock: monotonic seconds.

    Attributes:
        generation: of the claim held last; 0 before the first.
        note: what is announced, a predecessor's announcement included.  Assigning "" settles it; the next renewal
            carries that.
    """

    def __init__(self, store: Store, holder: str, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self.holder = holder
        self.generation = 0
        self.note = ""
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._sequence = 0
        self._etag = ""  # of the version that we wrote last; empty where the lease is not ours
        self._renewed_at = _NEVER
        self._seen_etag = ""
        self._seen_at = _NEVER
        self._looked_at = _NEVER

    def held(self) -> bool:
        """Whether this controller may act at this moment."""
        return bool(self._etag) and self._clock() < self._renewed_at + self._ttl_seconds * 2 / 3

    def step(self) -> bool:
        """Renews, waits or takes over, whichever is due; returns `held`.

        Raises:
            CloudError: S3 failed; `held` still tells the truth.
        """
        now = self._clock()
        if self._etag:
            if now >= self._renewed_at + self._ttl_seconds / 3:
                self._write(self.generation, self._etag)
        elif now >= self._looked_at + self._ttl_seconds / 10:
            self._looked_at = now
            self._look()
        return self.held()

    def announce(self, note: str) -> None:
        """Writes `note` into the lease, which renews it.

        Raises:
            LeaseLostError: the lease is not held, so nothing may be done.
            CloudError: S3 failed; nothing may be done either.
        """
        if not self.held():
            raise LeaseLostError()
        self.note = note
        if not (self._write(self.generation, self._etag) and self.held()):
            raise LeaseLostError()

    def release(self) -> None:
        """Gives the lease up, so that another controller can take over at once.

        Raises:
            CloudError: S3 failed; the lease then ends by itself.
        """
        etag, self._etag = self._etag, ""
        if etag:
            self._sequence += 1
            claim = Claim(self.holder, self.generation, self._sequence, self._ttl_seconds, self.note, released=True)
            self._store.replace(KEY, claim.encode(), etag)

    def _look(self) -> None:
        """Reads another's lease, and takes it where it is free or over."""
        found = self._store.get(KEY)
        now = self._clock()
        if found is None:
            self._write(1, "")
            return
        if found.etag != self._seen_etag:
            self._seen_etag, self._seen_at = found.etag, now
        claim = _decode(found)
        over = now >= self._seen_at + max(self._ttl_seconds, claim.ttl_seconds)
        # Our own name can stand there: a write of ours took effect although its answer never came.
        if claim.released or over or claim.holder == self.holder:
            self.note = claim.note
            self._write(claim.generation + 1, found.etag)

    def _write(self, generation: int, etag: str) -> bool:
        """Writes a claim of ours in place of the version `etag` (empty: of none); whether it is there now.

        Where another controller was faster the lease is not ours any more, which is no error.
        """
        started = self._clock()
        self._sequence += 1
        body = Claim(self.holder, generation, self._sequence, self._ttl_seconds, self.note).encode()
        for _attempt in range(2):
            try:
                written = self._store.replace(KEY, body, etag) if etag else self._store.create(KEY, body)
            except ConflictError:
                found = self._store.get(KEY)
                claim = None if found is None else _decode(found)
                if found is None or claim is None or (claim.holder, claim.generation) != (self.holder, generation):
                    break
                if claim.sequence != self._sequence:
                    etag = found.etag  # of an earlier write of ours whose answer never came
                    continue
                written = found.etag  # of this very write: its answer got lost, and botocore's retry met it
            self._etag, self.generation, self._renewed_at = written, generation, started
            return True
        self._etag = ""
        return False


def _decode(found: StateObject) -> Claim:
    """The claim in a lease object.

    One that cannot be read counts as the claim of an unknown holder: it is respected for a time to live, since a newer
    version may have written it, and then replaced.
    """
    try:
        return Claim.decode(found.body)
    except DecodeError as error:
        log.warning("%s: %s", KEY, error)
        return Claim("", 0, 0, 0.0)
