"""The scaling policy: from an observation to a decision with its reason.  Pure: no I/O, no clock.

Each decision answers two questions (docs/explanation/scaling.md derives the formulas):

* *Should more instances be launched?*  ``needed = ceil(load / TARGET_UTILISATION + left / target_latency)``, where
  `load` is the work that keeps arriving, in instances, and `left` the part of the backlog, in seconds of one instance,
  that remains when a new one has booted; but no more than are expected to work `boot_payback` times as long as they
  boot.  Without `boot_payback` and load this is the backlog-per-instance rule of the EC2 Auto Scaling user guide
  ("Scaling policy based on Amazon SQS"), ``backlog / (target_latency / mean_service)``, with in-flight jobs counted.
  What boots counts as an instance, however long it has been booting: so the fleet for a burst is that for the whole of
  it, however many looks it takes to see the whole.  Nothing but the minimum is launched while the queue is empty.
* *Can instances be terminated?*  The highest recommendation of a stabilization window applies, as in the Kubernetes
  Horizontal Pod Autoscaler, and busy instances are kept.  While work keeps arriving, the window is at least as long as
  a boot: the break-even of keeping an instance against launching another (the ski-rental problem).
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from controller.scaling import history as past
from controller.scaling.history import History, Recommendation

__all__ = ["Limits", "Observation", "Recommendation", "ScalingDecision", "decide"]

# Instances are launched so that each is busy for this share of its time; the rest is for fluctuating arrivals.
TARGET_UTILISATION = 0.95
# Load is expected to last for this share of the time that it has lasted.
CONTINUATION = 0.5
# How much longer than the mean an image's service may take, where the most is asked that may have been answered.
SERVICE_SPREAD = 1.5
# Instances are terminated only if the rest would be busy for less than this share; the gap absorbs noise.
SCALE_IN_UTILISATION = 0.85


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and targets of the scaling policy; see the settings of the same names.

    `mean_service_seconds` is the time that one instance needs for one image, `expected_boot_seconds` the time from its
    launch to its worker's first heartbeat: measured or, until then, as set.
    `boot_payback`: an instance is launched if it is expected to work this many times as long as it boots; 0: always.
    `report_seconds` is the time between two heartbeats of a worker, by which its counts may be late.
    `scale_out_step` and `scale_in_step` are the most instances that one decision launches or terminates.
    """

    min_size: int
    max_size: int
    target_latency_seconds: float
    mean_service_seconds: float
    scale_in_stabilization_seconds: float
    expected_boot_seconds: float = 0.0
    scale_out_step: int = 100
    scale_in_step: int = 100
    max_observation_age_seconds: float = 60.0
    boot_payback: float = 0.0
    report_seconds: float = 15.0

    @property
    def acceptable_backlog_per_instance(self) -> float:
        """The backlog that one instance works off within the target latency, in jobs; at least one."""
        return max(1.0, self.target_latency_seconds / self.mean_service_seconds)


@dataclass(frozen=True, slots=True)
class Observation:
    """The input of a decision: counts of jobs and instances.

    Attributes:
        visible, in_flight: waiting jobs and jobs that workers hold, as SQS counts them: up to a minute late.
        booting: launched instances whose worker has not published a heartbeat yet.
        running: instances whose worker publishes heartbeats.
        busy: those of `running` that hold jobs according to their heartbeats; less late than SQS's counts.
        age_seconds: how old the counts are.
        answered: the images that all workers report as answered: a counter that only grows while the controller is
            running.
        unreported_seconds: how long the `busy` instances may have worked since their last heartbeats, summed.
        idle_since: after this time, monotonic seconds, every running worker found the queue empty; -infinity where one
            has not.
    """

    visible: int
    in_flight: int
    booting: int
    running: int
    busy: int = 0
    age_seconds: float = 0.0
    answered: int = 0
    unreported_seconds: float = 0.0
    idle_since: float = -math.inf

    @property
    def backlog(self) -> int:
        """All jobs that are waiting or in flight."""
        return self.visible + self.in_flight

    @property
    def capacity(self) -> int:
        """Running and booting instances; a booting one counts, so that it is not launched twice."""
        return self.booting + self.running


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """The desired capacity, with the reason.

    `change` is the number of instances to launch (positive) or to terminate (negative).  `history` is the argument of
    the next decision.  `awaits_idle`: workers are expected to become idle before the next decision, so that their
    heartbeats should be looked at again.
    """

    desired_capacity: int
    change: int
    reason: str
    history: History
    awaits_idle: bool = False


def decide(
    observation: Observation | None, limits: Limits, history: History, now: float, previous_desired: int = 0
) -> ScalingDecision:
    """Decide on the desired capacity.

    Args:
        observation: None if observing failed: the fleet is then left as it is.
        limits: bounds and targets.
        history: as the last decision returned it; empty at the start.
        now: monotonic seconds.
        previous_desired: the last decision's capacity, repeated where nothing could be observed.
    """
    if observation is None:
        return ScalingDecision(previous_desired, 0, "holding: the queue or the fleet could not be observed", history)
    if observation.age_seconds > limits.max_observation_age_seconds:
        why = f"holding: the counts are {observation.age_seconds:.0f} s old"
        return ScalingDecision(previous_desired, 0, why, history)

    unreported = SERVICE_SPREAD * observation.unreported_seconds / limits.mean_service_seconds
    sample = past.next_sample(
        history, now, observation.backlog, observation.answered, unreported, limits.report_seconds
    )
    sample = past.with_outdated_count(history, sample, observation.visible, observation.idle_since)
    if sample.is_outdated:
        observation = dataclasses.replace(observation, visible=0, in_flight=0)
    load = _load((*history, sample), limits)
    sample = dataclasses.replace(sample, loaded_at=_loaded_at(history, limits, load, now))
    needed, worth = _needed(observation, limits, load), _worth(observation, limits, load, now - sample.loaded_at)
    desired = _clamped(min(needed, worth), limits)
    if observation.backlog == 0:
        desired = min(desired, max(observation.capacity, limits.min_size))
    arriving = past.arrived_since((*history, sample), now - limits.expected_boot_seconds)
    size = max(desired, _clamped(max(_occupied(observation, limits, load), arriving), limits))
    sample = dataclasses.replace(sample, size=size)
    recent = 2 * _load_window_seconds(limits)
    history = past.thinned(past.followed_by(history, sample), _memory_seconds(limits), recent)

    capacity = observation.capacity
    if desired > capacity:
        why = _why(observation, limits, load, _clamped(needed, limits), _left_seconds(observation, limits, load))
        if desired < min(needed, limits.max_size):
            why = f"{_hypothetical(why)}; only {desired} would work long enough to pay for booting"
        return _decision(capacity, desired, why, limits, history)
    window = limits.scale_in_stabilization_seconds
    if arriving:
        window = max(window, limits.expected_boot_seconds)
    elif observation.backlog == 0 and past.all_answered(sample):
        window = 0.0
    why = _why(observation, limits, load, size)
    if size > capacity:
        why = _why_not(why, observation, needed)
    return _scale_in(observation, limits, load, window, why, history)


def _load(history: History, limits: Limits) -> float:
    """The load of sustained arrivals, in instances; 0 below one image per boot time, since a new boot is cheaper."""
    rate = past.sustained_arrivals(history, _load_window_seconds(limits), limits.report_seconds)
    return rate * limits.mean_service_seconds if rate * limits.expected_boot_seconds >= 1 else 0.0


def _loaded_at(history: History, limits: Limits, load: float, now: float) -> float:
    """Since when images have been arriving all the time; infinity without load."""
    if load == 0:
        return math.inf
    began = now - _load_window_seconds(limits)
    return min(began, history[-1].loaded_at)


def _needed(observation: Observation, limits: Limits, load: float) -> int:
    """The instances for the load, and for the backlog that remains when those launched now have booted."""
    return _instances(observation, limits, load / TARGET_UTILISATION, _left_seconds(observation, limits, load))


def _occupied(observation: Observation, limits: Limits, load: float) -> int:
    """The instances that backlog and load occupy now, which scale-in keeps."""
    work = observation.backlog * limits.mean_service_seconds
    return _instances(observation, limits, load / SCALE_IN_UTILISATION, work)


def _instances(observation: Observation, limits: Limits, for_load: float, work_seconds: float) -> int:
    """The instances for load and backlog: at least one where there is either.

    Where an instance is launched whatever its boot costs, those for the backlog do the load as well: as many images as
    are waiting have as many instances, and none more.
    """
    if observation.backlog == 0 and for_load == 0:
        return 0
    for_backlog = work_seconds / _drain_seconds(limits)
    return max(1, _ceil(for_load + for_backlog if limits.boot_payback else max(for_load, for_backlog)))


def _left_seconds(observation: Observation, limits: Limits, load: float) -> float:
    """The part of the backlog that is left when an instance launched now has booted, in seconds of one instance.

    All of it where an instance is launched whatever its boot costs.
    """
    work = observation.backlog * limits.mean_service_seconds
    if not limits.boot_payback:
        return work
    return max(0.0, work - max(0.0, observation.running - load) * limits.expected_boot_seconds)


def _worth(observation: Observation, limits: Limits, load: float, lasted: float) -> float:
    """The most instances that are expected to work long enough to be worth their boot: at least one, or infinity.

    Load that has lasted for `lasted` seconds is expected to last for half as long again.
    """
    payback = limits.boot_payback * limits.expected_boot_seconds
    if payback < 0.001:
        return math.inf
    # Load that has lasted for long is worth the instances that `_needed` asks for, and none more.
    expected = min(CONTINUATION * lasted, payback / TARGET_UTILISATION) if load else 0.0
    return max(1, _ceil((observation.backlog * limits.mean_service_seconds + load * expected) / payback))


def _scale_in(
    observation: Observation, limits: Limits, load: float, window: float, why: str, history: History
) -> ScalingDecision:
    """Decide to terminate the instances that no recommendation of the window needs, except for busy ones."""
    capacity, now, size = observation.capacity, history[-1].at, history[-1].size
    highest = past.highest_since(history, now - window)
    desired = min(capacity, limits.max_size, max(highest, observation.busy))
    at_work = desired > max(size, highest)
    if at_work:
        why += f"; keeping {desired} that are at work"
    elif desired > size:
        were = "was" if highest == 1 else "were"
        why += f"; keeping {desired} because {highest} {were} needed within the last {window:.3g} s"
    decision = _decision(capacity, desired, why, limits, history)
    return dataclasses.replace(decision, awaits_idle=at_work or _ends_soon(observation, limits, load))


def _ends_soon(observation: Observation, limits: Limits, load: float) -> bool:
    """Whether nothing arrives and the busy workers will have done the backlog before their next heartbeats are due."""
    work = observation.backlog * limits.mean_service_seconds
    return load == 0 and observation.busy > 0 and work <= observation.running * limits.report_seconds / 2


def _decision(capacity: int, desired: int, why: str, limits: Limits, history: History) -> ScalingDecision:
    """The decision to change `capacity` to `desired`, limited to one step."""
    change = min(max(desired - capacity, -limits.scale_in_step), limits.scale_out_step)
    if capacity + change != desired:
        why += f"; at most {abs(change)} at a time"
    return ScalingDecision(capacity + change, change, why, history)


def _why(observation: Observation, limits: Limits, load: float, size: int, left_seconds: float | None = None) -> str:
    """Why `size` instances are needed.

    Args:
        left_seconds: the part of the backlog that counts, in seconds of one instance; None: all of it.
    """
    backlog = observation.backlog
    arrivals = f"arrivals that occupy {load:.1f}" if load >= 0.05 else ""
    if backlog:
        why = f"backlog {backlog} ({observation.visible} waiting + {observation.in_flight} in flight)"
        left = backlog if left_seconds is None else round(left_seconds / limits.mean_service_seconds)
        if left < backlog:
            why += f", of which {left} will be left after a boot,"
        why += f" at {limits.acceptable_backlog_per_instance:.0f} for each instance"
        why += f" and {arrivals} need {size}" if arrivals else f" needs {size}"
    elif load:
        why = f"no backlog; arrivals that occupy {load:.2g} need {size}"
    elif size > limits.min_size:
        why = f"no backlog; images that arrived within the time of a boot need {size}"
    else:
        return f"no backlog; the minimum is {size}" if size else "no backlog needs none"
    if size in (limits.min_size, limits.max_size) and size > 0:
        why += f", the {'maximum' if size == limits.max_size else 'minimum'}"
    return why


def _why_not(why: str, observation: Observation, needed: int) -> str:
    """The reason with why no more instances are launched although `why` asks for them."""
    why = _hypothetical(why)
    if observation.backlog == 0:
        return why + "; none is launched while none waits"
    if needed <= observation.capacity:
        return why + f"; the {observation.capacity} there will have done enough of it before another boots"
    return why + "; another would not work long enough to pay for booting"


def _hypothetical(why: str) -> str:
    """The reason without a claim that what it asks for is decided."""
    return re.sub(r" needs? ", " would need ", why, count=1)


def _load_window_seconds(limits: Limits) -> float:
    """The time over which the rate of arrivals is computed: each half is longer than the time between heartbeats."""
    return max(past.LOAD_WINDOW_SECONDS, 4 * limits.report_seconds)


def _memory_seconds(limits: Limits) -> float:
    """How much history to keep: the longest window of scale-in, and the counts that arrivals are computed from."""
    windows = limits.scale_in_stabilization_seconds, limits.expected_boot_seconds
    return max(*windows, 2 * _load_window_seconds(limits))


def _drain_seconds(limits: Limits) -> float:
    return limits.acceptable_backlog_per_instance * limits.mean_service_seconds


def _clamped(size: float, limits: Limits) -> int:
    return int(min(max(size, limits.min_size), limits.max_size))


def _ceil(number: float) -> int:
    """Round up, but 2.0000000001 to 2, since quotients of decimal fractions are not exact."""
    return math.ceil(number - 1e-9)
