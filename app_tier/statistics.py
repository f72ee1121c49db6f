"""What a worker tells of its speed: counts and mean stage times since the last report."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping


class Statistics:
    """Counts answers and sums stage times; thread-safe."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._reset(now)

    def record(self, stage_milliseconds: Mapping[str, float], *, failed: bool) -> None:
        """Counts one answered image with the time that each stage took for it."""
        with self._lock:
            self._answered += 1
            self._failed += failed
            for stage, milliseconds in stage_milliseconds.items():
                self._stage_sums[stage] += milliseconds

    def record_batch(self, size: int, seconds: float) -> None:
        """Counts one call of the interpreter."""
        with self._lock:
            self._batches += 1
            self._batched += size
            self._classify_seconds += seconds

    def report(self, now: float) -> str | None:
        """One readable line about the time since the last report, and a new start; None where nothing happened."""
        with self._lock:
            line = self._line(now) if self._answered else None
            self._reset(now)
        return line

    def _line(self, now: float) -> str:
        seconds = max(now - self._since, 1e-9)
        stages = " ".join(f"{stage}={total / self._answered:.1f}ms" for stage, total in self._stage_sums.items())
        mean_batch = self._batched / self._batches if self._batches else 0
        mean_service = self._classify_seconds / self._batched if self._batched else 0
        return (
            f"{self._answered} answered ({self._failed} failed) in {seconds:.0f} s: "
            f"{self._answered / seconds:.1f} images/s, mean batch {mean_batch:.1f}, "
            f"interpreter {mean_service * 1000:.1f} ms/image, {stages}"
        )

    def _reset(self, now: float) -> None:
        self._since = now
        self._answered = self._failed = self._batches = self._batched = 0
        self._classify_seconds = 0.0
        self._stage_sums: dict[str, float] = defaultdict(float)
