"""Set-up of a long-running process: the log format, the signals that stop it, and its garbage collector."""

from __future__ import annotations

import gc
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


def pause_collection() -> None:
    """Pause the garbage collector while a process loads what it keeps, none of which becomes garbage."""
    gc.disable()


def resume_collection() -> None:
    """Let the garbage collector run again, and never look at what has been loaded until now."""
    gc.freeze()
    gc.enable()
