"""The control loop: each pass renews the lease, observes, decides, launches or terminates, and publishes."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from controller.rollout.state_machine import Plan
from controller.scaling import history as past
from controller.scaling.bulk_fleet import least_for_deadlines, within_plan
from controller.scaling.executor import Outcome
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import FleetSnapshot
from controller.scaling.policies import Policy
from controller.scaling.policy import Limits, Recommendation, ScalingDecision, decide
from core.errors import CloudError
from core.fleet_status import LaunchTrouble
from core.periodic_task import PeriodicTask

log = logging.getLogger(__name__)

# An unchanged decision is logged again after this time, so that the log shows that the loop runs.
REPEAT_LOG_SECONDS = 30.0
_UNSETTLED = "holding: EC2 has not responded to a launch request, which is repeated"


class Leadership(Protocol):
    """The methods used of `aws.lease.Lease`."""

    generation: int

    def step(self, *, quiet: bool = False) -> bool: ...
    def held(self) -> bool: ...
    def release(self) -> None: ...


class Observer(Protocol):
    """The methods used of `controller.scaling.observer.Observer`."""

    def observe(self, *, awaits_idle: bool = False) -> FleetSnapshot: ...


class Executor(Protocol):
    """The methods used of `controller.scaling.executor.Executor`."""

    def settle(self) -> bool: ...
    def act(self, change: int, snapshot: FleetSnapshot, plan: Plan) -> Outcome: ...
    def trouble(self, release: int) -> LaunchTrouble | None: ...


class RolloutPlanner(Protocol):
    """The methods used of `controller.rollout.store.RolloutPlanner`."""

    def plan(self, snapshot: FleetSnapshot, desired: int) -> Plan: ...
    def forget(self) -> None: ...


class StatusPublisher(Protocol):
    """The methods used of `controller.status.publisher.StatusPublisher`."""

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
    """Call the scaling policy, keep its history, and log each decision that differs from the last.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, limits: CurrentLimits, clock: Callable[[], float], policy: Policy = decide) -> None:
        self._limits = limits
        self._clock = clock
        self._policy = policy
        self._history: tuple[Recommendation, ...] | None = None
        self._desired = 0
        self.awaits_idle = False  # the last decision's
        self._logged: tuple[str, int] = ("", 0)
        self._logged_at = float("-inf")

    def forget(self) -> None:
        """Discard the history, since another controller decided meanwhile."""
        self._history, self._desired = None, 0

    def desired(self, snapshot: FleetSnapshot) -> int:
        """The last decision's capacity; before the first decision, the fleet's present capacity."""
        return snapshot.observation.capacity if self._history is None else self._desired

    def decide(self, snapshot: FleetSnapshot | None) -> tuple[ScalingDecision, Limits]:
        """Return the decision about a snapshot, and the fleet's limits, which bulk runs may restrict meanwhile."""
        now, limits = self._clock(), self._limits.now(snapshot)
        observation = None if snapshot is None else snapshot.observation
        if self._history is None and observation is not None:
            # The present instances may have been needed just before: after a start, too, scale-in waits for its window.
            there = past.first_sample(now, observation.capacity, observation.backlog, observation.answered)
            self._history, self._desired = (there,), observation.capacity
        applied = limits if snapshot is None else _applied(limits, snapshot)
        decision = self._policy(observation, applied, self._history or (), now, self._desired)
        notes = [decision.reason]
        if applied.min_size > limits.min_size:
            notes.append(f"a deadline of bulk images needs {applied.min_size}")
        if applied.max_size < limits.max_size:
            notes.append(f"bulk images may have {applied.max_size}")
        decision = dataclasses.replace(decision, reason="; ".join(notes))
        if observation is not None:
            self._history, self._desired = decision.history, decision.desired_capacity
        self.awaits_idle = decision.awaits_idle
        self._log(decision, now, 0 if snapshot is None else snapshot.booting + snapshot.running)
        return decision, limits

    def _log(self, decision: ScalingDecision, now: float, capacity: int) -> None:
        line = (decision.reason, decision.change)
        if line != self._logged or now - self._logged_at >= REPEAT_LOG_SECONDS:
            action = f"{decision.change:+d}" if decision.change else "no change"
            log.info("desired %d, have %d (%s): %s", decision.desired_capacity, capacity, action, decision.reason)
            self._logged, self._logged_at = line, now


def _applied(limits: Limits, snapshot: FleetSnapshot) -> Limits:
    interactive = snapshot.backlog.total - snapshot.bulk_images
    least = least_for_deadlines(snapshot.bulk_deadlines, limits, snapshot.booting + snapshot.running)
    return within_plan(limits, interactive, snapshot.bulk_max_instances, least)


class Reconciler:
    """Bring the fleet to the size that the policy decides, while it holds the lease.

    Args:
        clock: monotonic seconds.
        on_pass: called at the end of each pass; its argument says whether this controller leads and nothing is under
            way.
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
        policy: Policy = decide,
        on_pass: Callable[[bool], None] = lambda quiet: None,
    ) -> None:
        self._on_pass = on_pass
        self._lease = lease
        self._observer = observer
        self._limits = limits
        self._planner = planner
        self._executor = executor
        self._publisher = publisher
        self._decider = Decider(limits, clock, policy)
        self._leads = False
        self._is_quiet = False  # in the last pass
        self._generation = 0  # of the lease, when this controller led last
        self._planned = ""

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Reconcile every `interval_seconds` until `stop` is set, then release the lease.

        An unexpected exception in a pass is logged and the next pass follows: it observes what the failed one has
        done.
        """
        PeriodicTask("control loop", interval_seconds, self.reconcile, at_once=True).run(stop)
        try:
            self._lease.release()
        except CloudError as error:
            log.warning("%s; the lease expires by itself", error)

    def reconcile(self) -> ScalingDecision | None:
        """Run one pass; return None without the lease.  After a cloud error the fleet is left as it is."""
        decision = self._decide_and_act() if self._lead() else None
        self._on_pass(self._leads and self._is_quiet)
        return decision

    def _decide_and_act(self) -> ScalingDecision:
        is_settled = self._settle()
        snapshot = plan = None
        try:
            snapshot = self._observer.observe(awaits_idle=self._decider.awaits_idle)
            plan = self._planner.plan(snapshot, self._decider.desired(snapshot))
        except CloudError as error:
            log.warning("%s", error)
        if snapshot is None or plan is None:
            self._is_quiet = False
            return self._decider.decide(None)[0]
        self._log(plan)
        if is_settled:
            seen = snapshot.without({*plan.drain, *plan.hidden}, plan.hidden_unseen)
            decision, limits = self._decider.decide(seen)
            outcome = self._act(decision, snapshot, plan)
        else:
            # How many instances there are is known only when EC2 has responded to the announced launch.
            decision, limits = self._decider.decide(None)
            decision = dataclasses.replace(decision, reason=_UNSETTLED)
            outcome = Outcome(trouble=self._executor.trouble(plan.release.number))
        self._is_quiet = is_settled and snapshot.is_quiet and not outcome.launched and plan.record.target is None
        self._publisher.report(
            snapshot,
            decision,
            outcome,
            limits,
            plan,
            service_measured=self._limits.service_measured,
        )
        return decision

    def _settle(self) -> bool:
        """Complete an announced launch; return whether none is pending any more."""
        try:
            return self._executor.settle()
        except CloudError as error:
            log.warning("%s", error)
            return False

    def _act(self, decision: ScalingDecision, snapshot: FleetSnapshot, plan: Plan) -> Outcome:
        """Carry out a decision and a plan; after a cloud error the next decision tries again."""
        try:
            return self._executor.act(decision.change, snapshot, plan)
        except CloudError as error:
            log.warning("%s; trying again at the next decision", error)
            return Outcome(problem=str(error), trouble=self._executor.trouble(plan.release.number))

    def _log(self, plan: Plan) -> None:
        if plan.reason and plan.reason != self._planned:
            log.info("%s", plan.reason)
        self._planned = plan.reason

    def _lead(self) -> bool:
        """Renew the lease; return whether this controller leads.  A new leader resumes the published history."""
        try:
            leads = self._lease.step(quiet=self._is_quiet)
        except CloudError as error:
            log.warning("%s", error)
            leads = self._lease.held()
        if leads and not self._leads:
            log.info("leading, generation %d of the lease", self._lease.generation)
            if self._generation != self._lease.generation:  # otherwise no other controller led in between
                self._decider.forget()
                self._planner.forget()
                self._publisher.resume()
            self._generation = self._lease.generation
        elif self._leads and not leads:
            log.warning("not leading any more")
        self._leads = leads
        return leads


def explain(
    observer: Observer,
    limits: CurrentLimits,
    interval_seconds: float,
    stop: threading.Event,
    policy: Policy = decide,
) -> None:
    """Decide every `interval_seconds` and log the reason, without lease, launches, terminations and status."""
    decider = Decider(limits, time.monotonic, policy)

    def decide_once() -> None:
        snapshot = None
        try:
            snapshot = observer.observe(awaits_idle=decider.awaits_idle)
        except CloudError as error:
            log.warning("%s", error)
        decider.decide(snapshot)

    PeriodicTask("dry run", interval_seconds, decide_once, at_once=True).run(stop)
