"""The fleet's history for the status object: samples, decisions, instance-seconds and cost.  No I/O."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from controller.scaling.observer import FleetSnapshot
from core.counter_delta import CounterDelta
from core.fleet_status import (
    HISTORY_SECONDS,
    MAX_DECISIONS,
    MAX_SAMPLES,
    Decision,
    FleetStatus,
    Sample,
)

# An unchanged fleet is sampled no more often than this.
MIN_SAMPLE_SECONDS = 1.0
# In longer gaps between two passes the number of instances is unknown; only this much time is counted.
MAX_STEP_SECONDS = 60.0
# The name of the single source of answers for `CounterDelta`: this controller's total over all workers.
_FLEET = "fleet"


class FleetHistory:
    """The fleet's past as the status object contains it.  Times are seconds since the epoch, unless named otherwise.

    Attributes:
        since: when the counts began.
        instance_seconds: sum over instances of their time in the fleet.
        answered: images answered since `since`.
    """

    def __init__(self, now: float) -> None:
        self.since = now
        self.instance_seconds = 0.0
        self.answered = 0
        self._new_answers: CounterDelta[Counter[str]] = CounterDelta(Counter())
        self._resumed = False
        self._samples: list[Sample] = []
        self._decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)
        self._counted_at: float | None = None

    def resume(self, status: FleetStatus) -> None:
        """Continue the history that another controller published."""
        self.since = status.since
        self.instance_seconds = status.instance_seconds
        self.answered = status.answered
        self._new_answers.clear()
        self._resumed = True
        self._samples = list(status.history)
        self._decisions = deque(status.decisions, maxlen=MAX_DECISIONS)
        self._counted_at = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The kept samples, oldest first."""
        return tuple(self._samples)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The kept decisions, oldest first."""
        return tuple(self._decisions)

    def cost_per_1000_images_usd(self, instance_usd_per_hour: float | None) -> float | None:
        """The cost of the instances' time for 1,000 images; None before the first answer or without a price."""
        if not self.answered or instance_usd_per_hour is None:
            return None
        return self.instance_seconds / 3600 * instance_usd_per_hour / self.answered * 1000

    def count(self, snapshot: FleetSnapshot, monotonic_now: float) -> None:
        """Add the time since the last pass for each instance, and the new answers."""
        if self._counted_at is not None:
            passed = min(monotonic_now - self._counted_at, MAX_STEP_SECONDS)
            self.instance_seconds += passed * snapshot.present
        self._counted_at = monotonic_now
        # After `resume`, the other controller has already counted the answers up to now.
        total = Counter(answered=snapshot.answered)
        self.answered += self._new_answers.take(_FLEET, 0, total, counted_before=self._resumed)["answered"]

    def sample(self, sample: Sample) -> None:
        """Keep a sample; one that follows too soon on a sample of the same sizes replaces it."""
        last = self._samples[-1] if self._samples else None
        if last is not None and sample.at - last.at < MIN_SAMPLE_SECONDS and _sizes(last) == _sizes(sample):
            self._samples[-1] = replace(sample, at=last.at)  # the newest counts are always kept
            return
        self._samples.append(sample)
        oldest_kept = sample.at - HISTORY_SECONDS
        self._samples = [kept for kept in self._samples if kept.at >= oldest_kept]
        if len(self._samples) > MAX_SAMPLES:
            del self._samples[_least_missed([kept.at for kept in self._samples])]

    def decide(self, decision: Decision) -> None:
        """Keep a decision."""
        self._decisions.append(decision)


def _sizes(sample: Sample) -> tuple[int, int, int]:
    return sample.desired, sample.booting, sample.running


def _least_missed(times: list[float]) -> int:
    """The index of the time, except for the first and the last, whose removal leaves the smallest gap."""
    return min(range(1, len(times) - 1), key=lambda index: times[index + 1] - times[index - 1])
