"""Since when an instance of the fleet has been running: what a worker needs to know of the time before its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from core.errors import CloudError, DecodeError
from core.fleet_status import FleetStatus

# An older status was written by a controller that no longer runs.
STALE_SECONDS = 30.0

log = logging.getLogger(__name__)


def running_since(read: Callable[[], bytes | None], now: float) -> float:
    """The beginning of the time, up to now, in which some instance has been running, in seconds since the epoch.

    The controller's status says it.  Where there is none, this worker counts as the first.

    Args:
        read: reads the status; None where there is none.
        now: when this worker is ready.
    """
    try:
        body = read()
        status = None if body is None else FleetStatus.decode(body)
    except (CloudError, DecodeError) as error:
        log.warning("the fleet's status cannot be read, so that response times may count waiting as booting: %s", error)
        return now
    if status is None or status.running_since is None or now - status.at > STALE_SECONDS:
        return now
    return min(now, status.running_since)
