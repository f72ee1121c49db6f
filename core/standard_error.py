"""Silence native libraries that log to standard error whatever their log level."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discard what is written to the process's standard error.

    TensorFlow logs to it on import, LiteRT with its first model.  Failures are still seen: they come as exceptions.
    """
    saved = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
