"""Observe, decide, act: one pass of the control loop, and the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from aws.fleet import Fleet, Instance
from aws.queue import JobQueue
from controller.policy import Limits, Observation, Recommendation, ScalingDecision, decide
from core.errors import CloudError

log = logging.getLogger(__name__)

# An unchanged decision is logged again after this time, as a sign of life.
REPEAT_LOG_SECONDS = 30.0


class Reconciler:
    """Brings the fleet to the size that the policy decides.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self, jobs: JobQueue, fleet: Fleet, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._limits = limits
        self._clock = clock
        self._history: tuple[Recommendation, ...] = ()
        self._desired = 0
        self._logged: tuple[str, int] = ("", 0)
        self._logged_at = float("-inf")

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Reconciles every `interval_seconds` until `stop` is set."""
        while not stop.is_set():
            self.reconcile()
            stop.wait(interval_seconds)

    def reconcile(self) -> ScalingDecision:
        """One pass: observe, decide, act.  A cloud that fails is logged and met with *hold*, never with an error."""
        try:
            backlog, instances = self._jobs.backlog(), self._fleet.describe()
            booting = sum(instance.state == "pending" for instance in instances)
            observation = Observation(backlog.visible, backlog.in_flight, booting, len(instances) - booting)
        except CloudError as error:
            log.warning("%s", error)
            observation, instances = None, []
        decision = decide(observation, self._limits, self._history, self._clock(), self._desired)
        self._history, self._desired = decision.history, decision.desired_capacity
        self._log(decision, len(instances))
        try:
            self._act(decision, instances)
        except CloudError as error:
            log.warning("%s; trying again at the next decision", error)
        return decision

    def _act(self, decision: ScalingDecision, instances: list[Instance]) -> None:
        if decision.change > 0:
            self._fleet.launch(decision.change, instances)
        elif decision.change < 0:
            self._fleet.terminate([instance.instance_id for instance in choose_victims(instances, -decision.change)])

    def _log(self, decision: ScalingDecision, capacity: int) -> None:
        now, line = self._clock(), (decision.reason, decision.change)
        if line != self._logged or now - self._logged_at >= REPEAT_LOG_SECONDS:
            action = f"{decision.change:+d}" if decision.change else "no change"
            log.info("desired %d, have %d (%s): %s", decision.desired_capacity, capacity, action, decision.reason)
            self._logged, self._logged_at = line, now


def choose_victims(instances: list[Instance], count: int) -> list[Instance]:
    """Which instances to terminate: booting ones first, then the youngest, whose loss costs least."""
    by_value = sorted(instances, key=lambda i: (i.state != "pending", -i.launched_at.timestamp(), i.instance_id))
    return by_value[:count]
