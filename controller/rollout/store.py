"""The record of releases in the state bucket, as the leading controller reads and writes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from aws.state import StateObject
from controller.rollout.state_machine import Fleet, Plan, plan
from controller.scaling.observer import FleetSnapshot
from core.errors import CloudError, ConflictError, DecodeError
from core.releases import KEY, ReleaseRecord

log = logging.getLogger(__name__)

# How often the record is read again, since a command may have begun or aborted a rollout.
LOOK_SECONDS = 3.0
# A rollout in which no instance is proven for this many times the boot grace has failed.
PROGRESS_GRACES = 10


class Store(Protocol):
    """The methods used of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def create(self, key: str, body: bytes) -> str: ...
    def replace(self, key: str, body: bytes, etag: str) -> str: ...


class RolloutPlanner:
    """Plan each pass from the stored record; a changed record is stored before the plan is returned.

    A record that cannot be decoded is not overwritten, since a newer version or an operator may have written it:
    rollouts are held, nothing is drained, and scaling goes on with the release that was read last.  A controller that
    has not read any launches the image that the launch template names.

    Args:
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        max_size: int,
        boot_grace_seconds: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._max_size = max_size
        self._progress_seconds = boot_grace_seconds * PROGRESS_GRACES
        self._clock = clock
        self._wall_clock = wall_clock
        self._record = ReleaseRecord()
        self._is_current = False
        self._etag = ""
        self._unreadable_etag = ""
        self._held = ""
        self._looked_at = float("-inf")

    def forget(self) -> None:
        """Invalidate the cached record, since another controller led meanwhile."""
        self._is_current = False

    def plan(self, snapshot: FleetSnapshot, desired: int) -> Plan:
        """Return the plan for a snapshot of the fleet.

        Args:
            desired: the capacity that the scaling policy decided on last.

        Raises:
            CloudError: the record could not be read or stored, or a command changed it first; do nothing in this pass.
        """
        record = self._read()
        if self._held:
            return Plan(record, release=record.current, reason=f"rollouts are held: {self._held}", held=self._held)
        fleet = Fleet(snapshot.members, snapshot.unseen_releases, desired, self._max_size, self._progress_seconds)
        found = plan(record, fleet, self._wall_clock())
        if found.record != record:
            self._write(record, found.record)
        return found

    def _read(self) -> ReleaseRecord:
        now = self._clock()
        if self._is_current and now - self._looked_at < LOOK_SECONDS:
            return self._record
        found = self._store.get(KEY)
        self._looked_at = now
        held = ""
        if found is None:
            self._record, self._etag = ReleaseRecord(), ""
        elif not self._is_current or found.etag != self._etag:
            try:
                self._record, self._etag = ReleaseRecord.decode(found.body), found.etag
            except DecodeError as error:
                held = f"{KEY} is {error}"
                if found.etag != self._unreadable_etag:
                    log.error("rollouts are held: %s", held)
                self._unreadable_etag = found.etag
        self._is_current, self._held = True, held
        return self._record

    def _write(self, before: ReleaseRecord, after: ReleaseRecord) -> None:
        try:
            body = after.encode()
            self._etag = self._store.replace(KEY, body, self._etag) if self._etag else self._store.create(KEY, body)
        except (CloudError, ConflictError):
            self._is_current = False  # a command changed it first, or the outcome is unknown: read it again
            raise
        self._record = after
        if len(after.past) > len(before.past):
            last = after.past[-1]
            log.info("%s: %s%s", last.release.title, last.result, f": {last.reason}" if last.reason else "")
