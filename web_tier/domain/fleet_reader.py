"""What the controller and the workers tell of themselves, read from the state bucket at most once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aws.state import StateStore
from core import fleet_status, heartbeat
from core.errors import CloudError, DecodeError
from core.fleet_status import FleetStatus
from core.heartbeat import Heartbeat
from web_tier.ttl_cache import TTLCache

STATUS_SECONDS = 1.0
HEARTBEATS_SECONDS = 5.0

log = logging.getLogger(__name__)


class FleetReader:
    """The fleet as others told of it; safe to share between threads."""

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._status = TTLCache(self._read_status, STATUS_SECONDS, single_flight=True, clock=clock)
        self._heartbeats = TTLCache(self._read_heartbeats, HEARTBEATS_SECONDS, single_flight=True, clock=clock)

    def status(self) -> FleetStatus | None:
        """What the controller told last; None where it has told nothing that we understand.

        Raises:
            CloudError: S3 failed.
        """
        return self._status.get()

    def known_status(self) -> FleetStatus | None:
        """As `status`, but None where S3 failed: for answers that can do without."""
        try:
            return self.status()
        except CloudError as error:
            log.warning("%s", error)
            return None

    def workers_by_model(self) -> dict[str, int]:
        """How many workers report, by the model that they answer with.

        Raises:
            CloudError: S3 failed.
        """
        counts: dict[str, int] = {}
        for beat in self._heartbeats.get():
            if beat.model and not beat.leaving:
                counts[beat.model] = counts.get(beat.model, 0) + 1
        return counts

    def _read_status(self) -> FleetStatus | None:
        found = self._state.get(fleet_status.KEY)
        if found is None:
            return None
        try:
            return FleetStatus.decode(found.body)
        except DecodeError as error:
            log.warning("%s", error)
            return None

    def _read_heartbeats(self) -> list[Heartbeat]:
        # A worker that was killed leaves its last word behind: only instances that the controller still has count.
        status = self.status()
        alive = None if status is None else {instance.instance_id for instance in status.instances}
        beats = []
        for stored in self._state.list(heartbeat.PREFIX):
            if alive is None or heartbeat.instance_of(stored.key) in alive:
                found = self._state.get(stored.key)
                try:
                    beats += [] if found is None else [Heartbeat.decode(found.body)]
                except DecodeError as error:
                    log.warning("%s", error)
        return beats
