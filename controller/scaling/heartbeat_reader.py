"""Read the workers' heartbeats: one listing shows which were renewed, and only changed ones are fetched."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from aws.buckets import StoredObject
from aws.state import StateObject
from controller.scaling.instance_tracker import Report
from core.counter_delta import CounterDelta
from core.errors import CloudError, DecodeError
from core.heartbeat import Heartbeat, instance_of
from core.object_keys import HEARTBEATS, KeyFamily

log = logging.getLogger(__name__)

# While no instance is present and no heartbeat is left, they are listed so many times less often.
QUIET_FACTOR = 10
# The most heartbeats that one pass fetches and deletes, so that it stays short however large the fleet is.
MAX_FETCHES = 30
MAX_REMOVALS = 30


class Store(Protocol):
    """The methods used of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def list(self, family: KeyFamily) -> Iterator[StoredObject]: ...
    def delete(self, key: str) -> None: ...


class HeartbeatReader:
    """The latest report of each instance.

    Args:
        interval_seconds: how often to list the heartbeats while no first heartbeat is expected.
        forget_after_seconds: delete the heartbeat of a terminated instance that has not changed for this time.
        clock: monotonic seconds.
        keep: delete nothing.

    Attributes:
        latest: reports by instance id, including those of terminated instances until they are deleted.
        answered: the number of images that workers have reported as answered since this object was created.
        looked_at: when the heartbeats were last listed.
    """

    def __init__(
        self,
        store: Store,
        interval_seconds: float,
        forget_after_seconds: float,
        clock: Callable[[], float],
        *,
        keep: bool = False,
    ) -> None:
        self.latest: dict[str, Report] = {}
        self.answered = 0
        self.looked_at = float("-inf")
        self._store = store
        self._interval_seconds = interval_seconds
        self._forget_after_seconds = forget_after_seconds
        self._clock = clock
        self._keep = keep
        self._changed_at: dict[str, float] = {}
        self._keys: dict[str, str] = {}
        self._fetched: dict[str, str] = {}  # ETag of the heartbeat that `latest` holds
        self._new_answers: CounterDelta[Counter[str]] = CounterDelta(Counter())
        self._there_before: frozenset[str] | None = None

    def refresh(self, present: Collection[str], *, eager: bool) -> None:
        """List the heartbeats if the interval is over, and fetch those that have changed.

        Args:
            present: the fleet's instances.
            eager: list them in any case, since the first heartbeat of an instance is expected.

        Raises:
            CloudError: the heartbeats could not be listed; nothing has changed.
        """
        now = self._clock()
        interval_seconds = self._interval_seconds * (1 if present or self.latest else QUIET_FACTOR)
        if not eager and now - self.looked_at < interval_seconds:
            return
        listed = {instance_of(stored.key): stored for stored in self._store.list(HEARTBEATS)}
        etags = {instance_id: stored.etag for instance_id, stored in listed.items()}
        self._keys = {instance_id: stored.key for instance_id, stored in listed.items()}
        for instance_id, etag in etags.items():
            before = self.latest.get(instance_id)
            if before is None or before.etag != etag:
                self._changed_at[instance_id] = now
                self.latest[instance_id] = Report(etag, None if before is None else before.heartbeat, is_read=False)
        for instance_id in self.latest.keys() - etags.keys():
            self._forget(instance_id)
        if self._there_before is None:
            self._there_before = frozenset(etags)
        self.looked_at = now
        try:
            self._fetch(present)
            if not self._keep:
                self._remove(set(self.latest) - set(present), now)
        except CloudError as error:
            log.warning("%s; the next pass tries again", error)  # the listing is complete: the rest can wait

    def _fetch(self, present: Collection[str]) -> None:
        """Fetch the heartbeats that have changed: those of present instances first, of these the longest outdated."""
        changed = [key for key, report in self.latest.items() if self._fetched.get(key) != report.etag]
        changed.sort(key=lambda key: (key not in present, self._changed_at[key]))
        for instance_id in changed[:MAX_FETCHES]:
            found = self._store.get(self._keys[instance_id])
            if found is None:
                continue
            self._fetched[instance_id] = found.etag
            try:
                heartbeat = Heartbeat.decode(found.body)
            except DecodeError as error:
                log.warning("the heartbeat of %s: %s", instance_id, error)
                continue
            self.latest[instance_id] = Report(found.etag, heartbeat)
            self._count(instance_id, heartbeat)

    def _count(self, instance_id: str, heartbeat: Heartbeat) -> None:
        """Add the answers since the first listing; an earlier controller has counted those before."""
        total = Counter(answered=heartbeat.answered)
        counted_before = instance_id in (self._there_before or ())
        new = self._new_answers.take(instance_id, heartbeat.started_at, total, counted_before=counted_before)
        self.answered += new["answered"]

    def _remove(self, gone: Collection[str], now: float) -> None:
        """Delete the heartbeats of terminated instances: at once if the worker reported its exit, else later."""
        removed = 0
        for instance_id in sorted(gone):
            heartbeat = self.latest[instance_id].heartbeat
            has_left = heartbeat is not None and heartbeat.leaving
            if has_left or now - self._changed_at[instance_id] >= self._forget_after_seconds:
                self._store.delete(self._keys[instance_id])
                self._forget(instance_id)
                removed += 1
                if removed == MAX_REMOVALS:
                    return

    def _forget(self, instance_id: str) -> None:
        self._new_answers.forget(instance_id)
        self._fetched.pop(instance_id, None)
        self._changed_at.pop(instance_id, None)
        self.latest.pop(instance_id, None)
