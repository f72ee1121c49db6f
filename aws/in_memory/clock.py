"""A clock that is set by hand."""

from __future__ import annotations


class ManualClock:
    """Seconds that pass only when a test advances them."""

    def __init__(self, now_seconds: float = 1_700_000_000.0) -> None:
        self.now_seconds = now_seconds

    def __call__(self) -> float:
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        self.now_seconds += seconds
