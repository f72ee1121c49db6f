"""Set-up of a long-running process: the log format, and the signals that stop it."""

from __future__ import annotations

import logging
import signal
import threading

from core import log_format


def start() -> threading.Event:
    """Configure logging, and return an event that SIGTERM and SIGINT set."""
    log_format.configure()
    # At INFO botocore logs at every start where it found credentials and endpoints.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
