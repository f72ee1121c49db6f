"""The scaling policies that the setting `scaling_policy` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller.scaling import policy, request_policy
from controller.scaling.history import History
from controller.scaling.policy import Limits, Observation, ScalingDecision

# Called with the observation, the limits, the history, the time and the last desired capacity.
Policy = Callable[[Observation | None, Limits, History, float, int], ScalingDecision]

POLICIES: Mapping[str, Policy] = {"backlog": policy.decide, "request": request_policy.decide}
