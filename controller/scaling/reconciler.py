"""One pass of the control loop, and the loop: lead, observe, decide, act, tell."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from controller.rollout.state_machine import Plan
from controller.scaling.executor import Outcome
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import FleetSnapshot
from controller.scaling.policy import Limits, Recommendation, ScalingDecision, decide
from core.errors import CloudError
from core.periodic_task import PeriodicTask

log = logging.getLogger(__name__)

# An unchanged decision is logged again after this time, as a sign of life.
REPEAT_LOG_SECONDS = 30.0


class Leadership(Protocol):
    """What is asked of `aws.lease.Lease`."""

    generation: int

    def step(self) -> bool: ...
    def held(self) -> bool: ...
    def release(self) -> None: ...


class Observer(Protocol):
    """What is asked of `controller.scaling.observer.Observer`."""

    def observe(self) -> FleetSnapshot: ...


class Executor(Protocol):
    """What is asked of `controller.scaling.executor.Executor`."""

    def settle(self) -> bool: ...
    def act(self, change: int, snapshot: FleetSnapshot, plan: Plan) -> Outcome: ...


class RolloutPlanner(Protocol):
    """What is asked of `controller.rollout.store.RolloutPlanner`."""

    def plan(self, snapshot: FleetSnapshot, desired: int) -> Plan: ...
    def forget(self) -> None: ...


class StatusPublisher(Protocol):
    """What is asked of `controller.status.publisher.StatusPublisher`."""

    def resume(self) -> None: ...
    def report(
        self,
        snapshot: FleetSnapshot,
        decision: ScalingDecision,
        outcome: Outcome,
        limits: Limits,
        plan: Plan,
        *,
        service_measured: bool,
    ) -> None: ...


class Decider:
    """Asks the policy, remembers what it wants remembered, and logs each change of mind in one line.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, limits: CurrentLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._history: tuple[Recommendation, ...] | None = None
        self._desired = 0
        self._logged: tuple[str, int] = ("", 0)
        self._logged_at = float("-inf")

    def forget(self) -> None:
        """Starts anew: another controller decided meanwhile."""
        self._history, self._desired = None, 0

    def desired(self, snapshot: FleetSnapshot) -> int:
        """The last decision's capacity; at the start, what there is."""
        return snapshot.observation.capacity if self._history is None else self._desired

    def decide(self, snapshot: FleetSnapshot | None) -> tuple[ScalingDecision, Limits]:
        """The decision about what was seen, and the limits that it kept to."""
        now, limits = self._clock(), self._limits.now(snapshot)
        observation = None if snapshot is None else snapshot.observation
        if self._history is None and observation is not None:
            # Whatever is there may have been needed a moment ago: scale-in waits for its window after a start, too.
            there = Recommendation(now, observation.capacity, observation.backlog, answered=observation.answered)
            self._history, self._desired = (there,), observation.capacity
        decision = decide(observation, limits, self._history or (), now, self._desired)
        if observation is not None:
            self._history, self._desired = decision.history, decision.desired_capacity
        self._log(decision, now, 0 if snapshot is None else snapshot.booting + snapshot.running)
        return decision, limits

    def _log(self, decision: ScalingDecision, now: float, capacity: int) -> None:
        line = (decision.reason, decision.change)
        if line != self._logged or now - self._logged_at >= REPEAT_LOG_SECONDS:
            action = f"{decision.change:+d}" if decision.change else "no change"
            log.info("desired %d, have %d (%s): %s", decision.desired_capacity, capacity, action, decision.reason)
            self._logged, self._logged_at = line, now


class Reconciler:
    """Brings the fleet to the size that the policy decides, while it holds the lease.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        lease: Leadership,
        observer: Observer,
        limits: CurrentLimits,
        planner: RolloutPlanner,
        executor: Executor,
        publisher: StatusPublisher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lease = lease
        self._observer = observer
        self._limits = limits
        self._planner = planner
        self._executor = executor
        self._publisher = publisher
        self._decider = Decider(limits, clock)
        self._leads = False
        self._generation = 0  # of the lease, when this controller led last
        self._planned = ""

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Reconciles every `interval_seconds` until `stop` is set, then gives the lease up.

        A pass that fails with an unexpected exception is logged, and the next one follows: what a pass has done is
        found again in the cloud.
        """
        PeriodicTask("control loop", interval_seconds, self.reconcile, at_once=True).run(stop)
        try:
            self._lease.release()
        except CloudError as error:
            log.warning("%s; the lease ends by itself", error)

    def reconcile(self) -> ScalingDecision | None:
        """One pass; None without the lease.  A cloud that fails is logged and met with *hold*, never with an error."""
        if not self._lead():
            return None
        snapshot = plan = None
        try:
            if self._executor.settle():
                snapshot = self._observer.observe()
                plan = self._planner.plan(snapshot, self._decider.desired(snapshot))
        except CloudError as error:
            log.warning("%s", error)
        if snapshot is None or plan is None:
            return self._decider.decide(None)[0]
        self._log(plan)
        seen = snapshot.without({*plan.drain, *plan.hidden}, plan.hidden_unseen)
        decision, limits = self._decider.decide(seen)
        outcome = Outcome()
        try:
            outcome = self._executor.act(decision.change, snapshot, plan)
        except CloudError as error:
            log.warning("%s; trying again at the next decision", error)
            outcome = Outcome(problem=str(error))
        self._publisher.report(
            snapshot,
            decision,
            outcome,
            limits,
            plan,
            service_measured=self._limits.service_measured,
        )
        return decision

    def _log(self, plan: Plan) -> None:
        if plan.reason and plan.reason != self._planned:
            log.info("%s", plan.reason)
        self._planned = plan.reason

    def _lead(self) -> bool:
        """Whether this controller leads now; on taking the lead it takes over what its predecessor has left."""
        try:
            leads = self._lease.step()
        except CloudError as error:
            log.warning("%s", error)
            leads = self._lease.held()
        if leads and not self._leads:
            log.info("leading, generation %d of the lease", self._lease.generation)
            if self._generation != self._lease.generation:  # else nobody has led in between
                self._decider.forget()
                self._planner.forget()
                self._publisher.resume()
            self._generation = self._lease.generation
        elif self._leads and not leads:
            log.warning("not leading any more")
        self._leads = leads
        return leads


def explain(observer: Observer, limits: CurrentLimits, interval_seconds: float, stop: threading.Event) -> None:
    """Decides every `interval_seconds` and logs why, but does nothing: no lease, no launch, no status."""
    decider = Decider(limits, time.monotonic)

    def decide_once() -> None:
        snapshot = None
        try:
            snapshot = observer.observe()
        except CloudError as error:
            log.warning("%s", error)
        decider.decide(snapshot)

    PeriodicTask("dry run", interval_seconds, decide_once, at_once=True).run(stop)
