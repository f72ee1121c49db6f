"""The scalers that the simulation compares: from the same counts, each decides how many instances to launch or end."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from controller.scaling.policies import Policy
from controller.scaling.policy import Limits, Observation, Recommendation, decide


@dataclass(frozen=True, slots=True)
class View:
    """A scaler's input: SQS's counts, the fleet, and the workers' last reports.

    `boot_seconds` is the median of the boots measured so far, None before the first; the rest is as in
    `controller.scaling.policy.Observation`.
    """

    visible: int
    in_flight: int
    booting: int
    running: int
    busy: int = 0
    answered: int = 0
    boot_seconds: float | None = None
    unreported_seconds: float = 0.0
    idle_since: float = -math.inf


class Scaler(Protocol):
    """A way of sizing the fleet.

    Attributes:
        interval_seconds: time between two decisions.
        jobs_in_hand: how many messages one of its workers holds at a time.
        drains: whether a worker that is terminated releases its jobs.
        uses_reports: whether it reads the workers' reports; the others see only SQS's and EC2's data.
        awaits_idle: whether it reads them at its next decision, however soon after the last time.
    """

    name: str
    interval_seconds: float
    jobs_in_hand: int
    drains: bool
    uses_reports: bool
    awaits_idle: bool

    def change(self, view: View, now: float) -> int:
        """How many instances to launch (positive) or to terminate (negative)."""
        ...


class Ours:
    """A policy of `controller.scaling.policies`, the same function that runs in the controller."""

    drains = True
    uses_reports = True

    def __init__(
        self, name: str, limits: Limits, interval_seconds: float, jobs_in_hand: int, policy: Policy = decide
    ) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self.jobs_in_hand = jobs_in_hand
        self._limits = limits
        self._policy = policy
        self._history: tuple[Recommendation, ...] = ()
        self._desired = 0
        self.reason = ""
        self.awaits_idle = False

    def change(self, view: View, now: float) -> int:
        """See `Scaler.change`."""
        observation = Observation(
            view.visible,
            view.in_flight,
            view.booting,
            view.running,
            busy=view.busy,
            answered=view.answered,
            unreported_seconds=view.unreported_seconds,
            idle_since=view.idle_since,
        )
        decision = self._policy(observation, self._with_boot(view.boot_seconds), self._history, now, self._desired)
        self._history, self._desired, self.reason = decision.history, decision.desired_capacity, decision.reason
        self.awaits_idle = decision.awaits_idle
        return decision.change

    def _with_boot(self, boot_seconds: float | None) -> Limits:
        if boot_seconds is not None and boot_seconds != self._limits.expected_boot_seconds:
            self._limits = dataclasses.replace(self._limits, expected_boot_seconds=boot_seconds)
        return self._limits


class VisibleOnly:
    """``min(visible messages, maximum)``, every second; surplus instances are terminated at once.

    The most common rule of student projects and first versions: one message at a time, no drain.
    """

    name = "visible-only"
    interval_seconds = 1.0
    jobs_in_hand = 1
    drains = False
    uses_reports = awaits_idle = False

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size

    def change(self, view: View, now: float) -> int:
        """See `Scaler.change`."""
        return min(view.visible, self._max_size) - view.booting - view.running


class TargetTracking:
    """AWS's target tracking on the backlog per instance.

    EC2 Auto Scaling user guide, "Scaling policy based on Amazon SQS": visible messages divided by the instances in
    service, each minute, held at ``acceptable latency / service time``, with the guide's own example of 10 s.
    Target tracking's alarms breach after 3 minutes above and 15 minutes below nine tenths of the target; the new size
    is in proportion.  The quotient is undefined without instances, so a second alarm takes the group from 0 to 1
    after one minute with a message; 15 minutes without a message take it to 0.  Kinder than the real one: no delay of
    the metric, no gradual scale-in, and workers that drain.
    """

    name = "aws-target-tracking"
    interval_seconds = 60.0
    drains = True
    uses_reports = awaits_idle = False
    LATENCY_SECONDS, OUT_DATAPOINTS, IN_DATAPOINTS, IN_SHARE = 10.0, 3, 15, 0.9

    def __init__(self, max_size: int, mean_service_seconds: float, jobs_in_hand: int) -> None:
        self.jobs_in_hand = jobs_in_hand
        self._max_size = max_size
        self._target = self.LATENCY_SECONDS / mean_service_seconds
        self._above = self._below = 0

    def change(self, view: View, now: float) -> int:
        """See `Scaler.change`."""
        capacity = view.booting + view.running
        if capacity == 0:
            self._above = self._below = 0
            return 1 if view.visible else 0
        if view.running == 0:
            return 0
        per_instance = view.visible / view.running
        self._above = self._above + 1 if per_instance > self._target else 0
        self._below = self._below + 1 if per_instance < self.IN_SHARE * self._target else 0
        desired = min(math.ceil(view.visible / self._target), self._max_size)
        if self._above >= self.OUT_DATAPOINTS:
            return max(0, desired - capacity)
        if self._below >= self.IN_DATAPOINTS:
            # While messages are in flight, the last instance is kept: its alarm includes both counts.
            return min(0, max(desired, 1 if view.visible + view.in_flight else 0) - capacity)
        return 0


class Keda:
    """KEDA's SQS scaler at its defaults, one instance for each replica, behind a Horizontal Pod Autoscaler at its.

    KEDA: queueLength 5, in-flight messages counted, pollingInterval 30 s (from 0 to 1), cooldownPeriod 300 s (from 1
    to 0).  Kubernetes: sync 15 s, tolerance 0.1, scale-down stabilization 300 s, scale-up by at most 100 % or 4 pods,
    whichever is more, in 15 s.
    """

    name = "keda"
    interval_seconds = 15.0
    drains = True
    uses_reports = awaits_idle = False
    QUEUE_LENGTH, POLLING, COOLDOWN, STABILIZATION, TOLERANCE = 5, 30.0, 300.0, 300.0, 0.1

    def __init__(self, max_size: int, jobs_in_hand: int) -> None:
        self.jobs_in_hand = jobs_in_hand
        self._max_size = max_size
        self._active_at = -math.inf
        self._recommended: deque[tuple[float, int]] = deque()

    def change(self, view: View, now: float) -> int:
        """See `Scaler.change`."""
        capacity, total = view.booting + view.running, view.visible + view.in_flight
        if total:
            self._active_at = now
        if capacity == 0:
            self._recommended.clear()
            return 1 if total and now % self.POLLING == 0 else 0
        if now - self._active_at >= self.COOLDOWN:
            return -capacity
        ratio = total / (self.QUEUE_LENGTH * capacity)
        desired = capacity if abs(ratio - 1) <= self.TOLERANCE else math.ceil(total / self.QUEUE_LENGTH)
        desired = min(max(desired, 1), self._max_size)
        self._recommended.append((now, desired))
        while self._recommended[0][0] <= now - self.STABILIZATION:
            self._recommended.popleft()
        if desired > capacity:
            return min(desired, max(2 * capacity, capacity + 4)) - capacity
        return min(0, max(size for _, size in self._recommended) - capacity)
