"""Worker statistics: counts and mean times since the last report."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's speed over the last `seconds`.

    `mean_service_seconds` is the time with jobs in hand divided by the images answered in it: the time that one more
    image takes on this instance.  `mean_batch_size` and `mean_interpreter_milliseconds` show how well the interpreter
    is used, `mean_stage_milliseconds` how long each stage takes.
    """

    seconds: float
    answered: int
    failed: int
    images_per_second: float
    mean_service_seconds: float
    mean_batch_size: float
    mean_interpreter_milliseconds: float
    mean_stage_milliseconds: Mapping[str, float]

    def line(self) -> str:
        """The report as a log line."""
        stages = " ".join(f"{stage} {mean:.1f} ms" for stage, mean in self.mean_stage_milliseconds.items())
        return (
            f"{self.answered} answered ({self.failed} failed) in {self.seconds:.0f} s: "
            f"{self.images_per_second:.1f} images/s, service {self.mean_service_seconds * 1000:.1f} ms, "
            f"batch {self.mean_batch_size:.1f}, interpreter {self.mean_interpreter_milliseconds:.1f} ms; {stages}"
        )


@dataclass(frozen=True, slots=True)
class Vitals:
    """A worker's counts since its start.

    `oldest_job_age_seconds` is the longest time that a job had waited, of those received since the vitals before.
    """

    in_hand: int
    answered: int
    failed: int
    busy_seconds: float
    oldest_job_age_seconds: float | None


class Statistics:
    """Count answers and sum times; thread-safe."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._answered_before = self._failed_before = 0
        self._oldest_job_age_seconds: float | None = None
        self._answered = self._failed = 0
        self._reset(now)

    def record(self, stage_milliseconds: Mapping[str, float], *, failed: bool) -> None:
        """Count one answered image with the time that each stage took for it."""
        with self._lock:
            self._answered += 1
            self._failed += failed
            for stage, milliseconds in stage_milliseconds.items():
                self._stage_sums[stage] += milliseconds
                self._stage_counts[stage] += 1

    def record_batch(self, size: int, seconds: float) -> None:
        """Count one call of the interpreter."""
        with self._lock:
            self._batches += 1
            self._batched += size
            self._interpreter_seconds += seconds

    def record_age(self, seconds: float) -> None:
        """Note how long a received job had waited."""
        with self._lock:
            self._oldest_job_age_seconds = max(seconds, self._oldest_job_age_seconds or 0.0)

    def vitals(self, in_hand: int, busy_seconds: float) -> Vitals:
        """Return the counts since the start, together with the two arguments."""
        with self._lock:
            age, self._oldest_job_age_seconds = self._oldest_job_age_seconds, None
            answered, failed = self._answered_before + self._answered, self._failed_before + self._failed
        return Vitals(in_hand, answered, failed, busy_seconds, age)

    def report(self, now: float, busy_seconds: float) -> Report | None:
        """Return the report since the last one, and start a new one; None if nothing was answered.

        Args:
            busy_seconds: how long any job was in hand since the last report.
        """
        with self._lock:
            report = self._report(now, busy_seconds) if self._answered else None
            self._reset(now)
        return report

    def _report(self, now: float, busy_seconds: float) -> Report:
        seconds = max(now - self._since, 1e-9)
        return Report(
            seconds=seconds,
            answered=self._answered,
            failed=self._failed,
            images_per_second=self._answered / seconds,
            mean_service_seconds=busy_seconds / self._answered,
            mean_batch_size=self._batched / max(self._batches, 1),
            mean_interpreter_milliseconds=1000 * self._interpreter_seconds / max(self._batched, 1),
            mean_stage_milliseconds={
                stage: total / self._stage_counts[stage] for stage, total in self._stage_sums.items()
            },
        )

    def _reset(self, now: float) -> None:
        self._since = now
        self._answered_before += self._answered
        self._failed_before += self._failed
        self._answered = self._failed = self._batches = self._batched = 0
        self._interpreter_seconds = 0.0
        self._stage_sums: dict[str, float] = defaultdict(float)
        self._stage_counts: dict[str, int] = defaultdict(int)
