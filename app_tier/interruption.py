"""Watch for EC2's notices that it will interrupt this instance."""

from __future__ import annotations

import logging
import threading

from aws.metadata import InstanceMetadata
from core.periodic_task import PeriodicTask

log = logging.getLogger(__name__)

# EC2's documentation recommends to poll every five seconds.
POLL_SECONDS = 5.0


def watch_for_interruption(
    metadata: InstanceMetadata, stop: threading.Event, poll_seconds: float = POLL_SECONDS
) -> threading.Thread:
    """Set `stop` when a spot interruption notice or a rebalance recommendation comes; return the watching thread.

    Only for EC2 instances: elsewhere there is no metadata service, and each look would fail.
    """

    def look() -> None:
        if (notice := metadata.interruption()) is not None:
            log.warning("leaving: %s", notice)
            stop.set()

    return PeriodicTask("interruption", poll_seconds, look, at_once=True).start(stop)
