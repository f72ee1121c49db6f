"""Whom the simulation compares: each looks at the same counts and says how many instances to launch or terminate."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from controller.scaling.policy import Limits, Observation, Recommendation, decide


@dataclass(frozen=True, slots=True)
class View:
    """What a scaler sees: the counts as SQS tells them, the fleet, and what workers last reported.

    `boot_seconds` is the median of the boots measured so far, None before the first.
    """

    visible: int
    in_flight: int
    booting: int
    running: int
    busy: int
    answered: int
    boot_seconds: float | None
    booting_ages: tuple[float, ...] = ()


class Scaler(Protocol):
    """A way of sizing the fleet.

    Attributes:
        interval_seconds: time between two looks.
        jobs_in_hand: how many messages one of its workers holds at a time.
        drains: whether a worker that is terminated hands its jobs back.
        listens: whether it asks what workers report; the others see no more than SQS and EC2 tell.
    """

    name: str
    interval_seconds: float
    jobs_in_hand: int
    drains: bool
    listens: bool

    def change(self, view: View, now: float) -> int:
        """How many instances to launch (positive) or to terminate (negative)."""
        ...


class Ours:
    """`controller.scaling.policy.decide`, the same function that runs in the controller."""

    drains = True
    listens = True

    def __init__(self, name: str, limits: Limits, interval_seconds: float, jobs_in_hand: int) -> None:
        self.name = name
        self.interval_seconds = interval_seconds
        self.jobs_in_hand = jobs_in_hand
        self._limits = limits
        self._history: tuple[Recommendation, ...] = ()
        self._desired = 0
        self.reason = ""

    def change(self, view: View, now: float) -> int:
        """See `Scaler.change`."""
        observation = Observation(
            view.visible,
            view.in_flight,
            view.booting,
            view.running,
            busy=view.busy,
            answered=view.answered,
            booting_ages=view.booting_ages,
        )
        decision = decide(observation, self._with_boot(view.boot_seconds), self._history, now, self._desired)
        self._history, self._desired, self.reason = decision.history, decision.desired_capacity, decision.reason
        return decision.change

    def _with_boot(self, boot_seconds: float | None) -> Limits:
        if boot_seconds is not None and boot_seconds != self._limits.expected_boot_seconds:
            self._limits = dataclasses.replace(self._limits, expected_boot_seconds=boot_seconds)
        return self._limits


class VisibleOnly:
    """``min(visible messages, maximum)``, looked at every second; what is too much is terminated at once.

    The commonest form of student projects and first versions: one message at a time, no drain.
    """

    name = "visible-only"
    interval_seconds = 1.0
    jobs_in_hand = 1
    drains = False
    listens = False

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
    listens = False
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
        wanted = min(math.ceil(view.visible / self._target), self._max_size)
        if self._above >= self.OUT_DATAPOINTS:
            return max(0, wanted - capacity)
        if self._below >= self.IN_DATAPOINTS:
            # As long as messages are in flight, the last instance stays: its alarm looks at both counts.
            return min(0, max(wanted, 1 if view.visible + view.in_flight else 0) - capacity)
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
    listens = False
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
        wanted = capacity if abs(ratio - 1) <= self.TOLERANCE else math.ceil(total / self.QUEUE_LENGTH)
        wanted = min(max(wanted, 1), self._max_size)
        self._recommended.append((now, wanted))
        while self._recommended[0][0] <= now - self.STABILIZATION:
            self._recommended.popleft()
        if wanted > capacity:
            return min(wanted, max(2 * capacity, capacity + 4)) - capacity
        return min(0, max(size for _, size in self._recommended) - capacity)
