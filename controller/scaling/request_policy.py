"""The scaling policy "one instance for each request", for systems whose fleet is counted.  Pure: no I/O, no clock.

`controller.scaling.policy` weighs boots against waits.  This policy does not: as many instances as there have been
requests at a time, up to the maximum, until all requests are answered; then none.  It neither terminates an instance
while a request waits, nor launches one for a request that has been answered.
"""

from __future__ import annotations

from controller.scaling import history as past
from controller.scaling.history import History, Recommendation
from controller.scaling.policy import Limits, Observation, ScalingDecision
from controller.scaling.policy import decide as decide_by_backlog


def decide(
    observation: Observation | None, limits: Limits, history: History, now: float, previous_desired: int = 0
) -> ScalingDecision:
    """Decide on the desired capacity; see `controller.scaling.policy.decide`.

    Of the limits, it uses the sizes, the steps, the window of scale-in and the age of counts that are too old.
    """
    if observation is None or observation.age_seconds > limits.max_observation_age_seconds:
        return decide_by_backlog(observation, limits, history, now, previous_desired)
    requests, capacity, window = observation.backlog, observation.capacity, limits.scale_in_stabilization_seconds
    needed = min(max(requests, limits.min_size), limits.max_size)
    followed = past.followed_by(history, Recommendation(now, needed, requests))
    history = tuple(one for one in followed if one.until > now - window)
    if needed > capacity:
        return _decision(capacity, needed, _why(requests, needed, limits), limits, history)
    why = _why(requests, needed, limits)
    # Between the requests of a client that sends one after the other, there is none for a moment.
    if requests or past.highest_since(history, now - window) > needed:
        desired = min(capacity, limits.max_size)
        if desired > needed:
            why += f"; keeping {desired} until all are answered for {window:.3g} s"
        return _decision(capacity, desired, why, limits, history)
    return _decision(capacity, needed, why, limits, history)


def _decision(capacity: int, desired: int, why: str, limits: Limits, history: History) -> ScalingDecision:
    change = min(max(desired - capacity, -limits.scale_in_step), limits.scale_out_step)
    if capacity + change != desired:
        why += f"; at most {abs(change)} at a time"
    return ScalingDecision(capacity + change, change, why, history)


def _why(requests: int, needed: int, limits: Limits) -> str:
    if not requests:
        return f"no requests; the minimum is {needed}" if needed else "no requests need no instance"
    why = f"{requests} {'request needs' if requests == 1 else 'requests need'} {needed}, one for each"
    return f"{why}, up to the maximum" if requests > limits.max_size else why
