"""Reads the fleet's status and the workers' heartbeats from the state bucket, at most once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aws.state import StateStore
from core import fleet_status, heartbeat, object_keys
from core.errors import CloudError, DecodeError
from core.fleet_status import FleetStatus
from core.heartbeat import Heartbeat
from web_tier.ttl_cache import TTLCache

STATUS_SECONDS = 1.0
HEARTBEATS_SECONDS = 5.0

log = logging.getLogger(__name__)


class FleetReader:
    """The fleet as the controller and the workers report it; safe to share between threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._status = TTLCache(self._read_status, STATUS_SECONDS, single_flight=True, clock=clock)
        self._heartbeats = TTLCache(self._read_heartbeats, HEARTBEATS_SECONDS, single_flight=True, clock=clock)

    def status(self) -> FleetStatus | None:
        """The controller's last status; None where there is none that can be decoded.

        Raises:
            CloudError: S3 failed.
        """
        return self._status.get()

    def known_status(self) -> FleetStatus | None:
        """As `status`, but None where S3 failed: for responses that are useful without it."""
        try:
            return self.status()
        except CloudError as error:
            log.warning("%s", error)
            return None

    def workers_by_model(self) -> dict[str, int]:
        """The number of workers that send heartbeats, by the model that they use.

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
        # The last heartbeat of a killed worker stays for a while: only instances that the controller lists count.
        status = self.status()
        alive = None if status is None else {instance.instance_id for instance in status.instances}
        beats = []
        for stored in self._state.list(object_keys.HEARTBEATS):
            if alive is None or heartbeat.instance_of(stored.key) in alive:
                found = self._state.get(stored.key)
                try:
                    beats += [] if found is None else [Heartbeat.decode(found.body)]
                except DecodeError as error:
                    log.warning("%s", error)
        return beats
