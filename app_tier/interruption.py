"""Watches for EC2's notices that it will take this instance back."""

from __future__ import annotations

import logging
import threading

from aws.metadata import InstanceMetadata, MetadataUnavailableError

log = logging.getLogger(__name__)

# EC2 advises to ask every five seconds.
POLL_SECONDS = 5.0


def watch_for_interruption(
    metadata: InstanceMetadata, stop: threading.Event, poll_seconds: float = POLL_SECONDS
) -> threading.Thread:
    """Sets `stop` when a spot interruption notice or a rebalance recommendation comes; returns the watching thread.

    Where there never was a metadata service it ends at once: this is no EC2 instance.
    """

    def watch() -> None:
        answered = False
        while True:
            notice = None
            try:
                notice = metadata.interruption()
                answered = True
            except MetadataUnavailableError as error:
                if not answered:
                    log.info("no instance metadata (%s): not watching for interruptions", error)
                    return
            if notice is not None:
                log.warning("leaving: %s", notice)
                stop.set()
            if stop.wait(poll_seconds):
                return

    thread = threading.Thread(target=watch, name="interruption", daemon=True)
    thread.start()
    return thread
