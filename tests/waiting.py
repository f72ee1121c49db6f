"""Waiting for what real processes and threads bring about, with patience instead of an expected time."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 90.0
_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], sentence: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until `condition` holds; fails with `sentence` where it never does."""
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, sentence
        time.sleep(_POLL_SECONDS)
