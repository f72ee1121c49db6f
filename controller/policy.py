"""The scaling policy: numbers in, one decision with its reason out.  Pure: no I/O, no clock.

``backlog = visible + in_flight``; ``acceptable_backlog_per_instance = target_latency / mean_service``;
``desired_capacity = clamp(ceil(backlog / acceptable_backlog_per_instance), min_size, max_size)``: the
backlog-per-instance rule of the EC2 Auto Scaling user guide ("Scaling policy based on Amazon SQS"), with
in-flight jobs counted, so that instances at work are never taken for idle ones.  Scale-in follows the highest
recommendation of a stabilization window, as the Kubernetes Horizontal Pod Autoscaler does: SQS's counts are
approximate and lag, and one low reading must not empty the fleet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the policy may do; see the settings of the same names."""

    min_size: int
    max_size: int
    target_latency_seconds: float
    mean_service_seconds: float
    scale_in_stabilization_seconds: float

    @property
    def acceptable_backlog_per_instance(self) -> float:
        """How many jobs may stand before one instance without missing the target latency; at least one."""
        return max(1.0, self.target_latency_seconds / self.mean_service_seconds)


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen: jobs that wait and jobs in flight; instances that boot and instances that run."""

    visible: int
    in_flight: int
    booting: int
    running: int

    @property
    def backlog(self) -> int:
        """All jobs that are not done."""
        return self.visible + self.in_flight

    @property
    def capacity(self) -> int:
        """Instances that run or will: one that boots is ordered already and must not be ordered twice."""
        return self.booting + self.running


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the backlog alone asked for at a time (monotonic seconds)."""

    at: float
    size: int


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """How many instances there should be, and why.

    `change` is how many to launch (positive) or to terminate (negative).  `history` is to be passed to the next
    decision.
    """

    desired_capacity: int
    change: int
    reason: str
    history: tuple[Recommendation, ...]


def decide(
    observation: Observation | None,
    limits: Limits,
    history: tuple[Recommendation, ...],
    now: float,
    previous_desired: int = 0,
) -> ScalingDecision:
    """Decides how many instances there should be.

    Args:
        observation: what was seen, or None where observing failed: the fleet is then left as it is.
        limits: bounds and targets.
        history: the recommendations of earlier decisions.
        now: monotonic seconds.
        previous_desired: the last decision's capacity, repeated where nothing could be observed.
    """
    if observation is None:
        return ScalingDecision(previous_desired, 0, "holding: the queue or the fleet could not be observed", history)

    wanted, why = _recommend(observation, limits)
    window_start = now - limits.scale_in_stabilization_seconds
    recent = tuple(past for past in history if past.at > window_start)
    history = (*_without_superseded(recent, wanted), Recommendation(now, wanted))

    if wanted >= observation.capacity:
        return ScalingDecision(wanted, wanted - observation.capacity, why, history)

    # Scale-in: the highest recommendation of the window rules, but never asks for more than there is.
    highest = max(past.size for past in history)
    desired = max(wanted, min(highest, observation.capacity))
    if desired > wanted:
        window = f"{limits.scale_in_stabilization_seconds:g} s"
        why = f"{why}; keeping {desired} because {highest} were needed within the last {window}"
    return ScalingDecision(desired, desired - observation.capacity, why, history)


def _recommend(observation: Observation, limits: Limits) -> tuple[int, str]:
    per_instance = limits.acceptable_backlog_per_instance
    needed = math.ceil(observation.backlog / per_instance)
    wanted = min(max(needed, limits.min_size), limits.max_size)
    why = (
        f"backlog {observation.backlog} ({observation.visible} waiting + {observation.in_flight} in flight)"
        f" at {per_instance:.0f} for each instance needs {needed}"
    )
    if needed > limits.max_size:
        why += f", limited to {limits.max_size}"
    elif needed < limits.min_size:
        why += f", raised to the minimum of {limits.min_size}"
    return wanted, why


def _without_superseded(history: tuple[Recommendation, ...], size: int) -> tuple[Recommendation, ...]:
    """Drops recommendations that a newer one at least as high makes irrelevant, so that the history stays short."""
    return tuple(past for past in history if past.size > size)
