"""Set up a long-running process: one log format, and signals that ask it to stop."""

from __future__ import annotations

import logging
import signal
import threading


def start() -> threading.Event:
    """Sets up logging; returns an event that SIGTERM and SIGINT set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # At INFO it logs at every start where credentials and endpoints came from.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
