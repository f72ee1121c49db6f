"""Waiting for what real processes and threads bring about, with patience instead of an expected time."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 90.0
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.2


def wait_until(condition: Callable[[], bool], sentence: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until `condition` holds; fails with `sentence` where it never does."""
    deadline = time.monotonic() + patience_seconds
    pause = _FIRST_PAUSE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, sentence
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
