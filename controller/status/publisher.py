"""Publish what the controller observes and does: the status object, and metrics on CloudWatch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from aws.metrics import Metric
from aws.state import StateObject
from controller.rollout.state_machine import Plan
from controller.scaling.executor import Outcome
from controller.scaling.instance_tracker import State, TrackedInstance
from controller.scaling.observer import FleetSnapshot
from controller.scaling.policy import Limits, ScalingDecision
from controller.status.fleet_history import FleetHistory
from controller.status.oldest_job import OldestJob
from controller.status.prediction_monitor import PredictionMonitor
from core.errors import CloudError, DecodeError
from core.fleet_status import KEY, Decision, FleetStatus, InstanceStatus, RolloutStatus, Sample
from core.periodic_task import TaskHealth
from core.prices import load_prices
from core.releases import Phase
from core.settings import Settings, split_list

log = logging.getLogger(__name__)

_STATES = {
    State.BOOTING: "booting",
    State.RUNNING: "running",
    State.UNRESPONSIVE: "silent",
    State.BOOT_TIMEOUT: "silent",
    State.UNHEALTHY: "silent",
}


# While nothing is under way, the status is published so many times less often, but before it counts as outdated.
QUIET_FACTOR = 10
MAX_QUIET_SECONDS = 25.0


class Store(Protocol):
    """The methods used of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def put(self, key: str, body: bytes) -> str: ...


class Sink(Protocol):
    """The methods used of `aws.metrics.MetricSink`."""

    def put(self, metrics: Mapping[str, Metric]) -> None: ...


class StatusPublisher:
    """Publish status and metrics after a pass when they are due; what cannot be written is lost.

    Args:
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
        task_health: returns the health of the controller's periodic tasks.
    """

    def __init__(
        self,
        store: Store,
        sink: Sink,
        settings: Settings,
        controller_id: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        task_health: Callable[[], tuple[TaskHealth, ...]] = tuple,
    ) -> None:
        self._task_health = task_health
        self._store = store
        self._sink = sink
        self._settings = settings
        self._controller_id = controller_id
        self._instance_usd_per_hour = settings.instance_usd_per_hour or load_prices().worker_usd_per_hour(
            split_list(settings.instance_types)
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._fleet_history = FleetHistory(wall_clock())
        self._quality = PredictionMonitor(store)
        self._oldest_job = OldestJob()
        self._written_at = self._metrics_at = float("-inf")
        self._written_quiet = False
        self._noted: tuple[int, str, Phase] = (0, "", Phase.STEADY)
        self._metered_seconds = 0.0
        self._resumed = True

    def resume(self) -> None:
        """Continue, from the next pass on, the history that another controller published."""
        self._resumed = False

    def _resume(self) -> bool:
        """Read the published history if necessary; return whether it was read, so that the status may be replaced."""
        if self._resumed:
            return True
        try:
            found = self._store.get(KEY)
            before = None if found is None else FleetStatus.decode(found.body)
            if before is not None:
                self._fleet_history.resume(before)
            self._quality.resume(None if before is None else before.shadow)
        except DecodeError as error:
            log.warning("starting without the history of the fleet: %s", error)
        except CloudError as error:
            log.warning("%s", error)
            return False
        self._resumed = True
        self._metered_seconds = self._fleet_history.instance_seconds
        return True

    def report(
        self,
        snapshot: FleetSnapshot,
        decision: ScalingDecision,
        outcome: Outcome,
        limits: Limits,
        plan: Plan,
        *,
        service_measured: bool,
    ) -> None:
        """Record one pass, and publish what is due.

        Args:
            service_measured: whether the mean service time in `limits` was measured.
        """
        if not self._resume():
            return
        now, at = self._clock(), round(self._wall_clock(), 2)
        self._fleet_history.count(snapshot, now)
        self._quality.take(snapshot.members)
        self._quality.look(now)
        sample = Sample(
            at,
            snapshot.backlog.visible,
            snapshot.backlog.in_flight,
            decision.desired_capacity,
            snapshot.booting,
            snapshot.running,
            round(snapshot.images_per_second, 2),
        )
        self._fleet_history.sample(sample)
        oldest_job_age_seconds = self._age_of_oldest_job(snapshot, now)
        changed = self._note(decision, outcome, plan, at)
        quiet = snapshot.is_quiet
        if changed or quiet != self._written_quiet or now - self._written_at >= self._interval_seconds(quiet):
            self._written_at, self._written_quiet = now, quiet
            status = self._status(at, snapshot, limits, plan, service_measured)
            self._write(
                dataclasses.replace(status, oldest_job_age_seconds=oldest_job_age_seconds, trouble=outcome.trouble)
            )
        interval_seconds = self._settings.metrics_interval_seconds
        if interval_seconds and (changed or now - self._metrics_at >= interval_seconds):
            self._metrics_at = now
            self._meter(sample, oldest_job_age_seconds)

    def _interval_seconds(self, quiet: bool) -> float:
        """The longest time between two publications of the status."""
        interval_seconds = self._settings.status_interval_seconds
        return (
            max(interval_seconds, min(interval_seconds * QUIET_FACTOR, MAX_QUIET_SECONDS))
            if quiet
            else interval_seconds
        )

    def _note(self, decision: ScalingDecision, outcome: Outcome, plan: Plan, at: float) -> bool:
        """Keep a decision that changed the fleet, or a new problem; return whether there was one."""
        change = outcome.launched - outcome.terminated
        noted = (decision.desired_capacity, outcome.problem, plan.record.phase)
        if not (outcome.launched or outcome.terminated) and noted == self._noted:
            return False
        self._noted = noted
        # A plan explains its own launches and terminations, and those of the scaling policy are explained with them.
        scaling = decision.reason if decision.change or not plan.reason else ""
        reason = "; ".join(filter(None, (plan.reason, scaling, outcome.replaced, outcome.problem)))
        self._fleet_history.decide(Decision(at, decision.desired_capacity, change, reason))
        return True

    def _status(
        self, at: float, snapshot: FleetSnapshot, limits: Limits, plan: Plan, service_measured: bool
    ) -> FleetStatus:
        fleet_history = self._fleet_history
        return FleetStatus(
            at=at,
            controller_id=self._controller_id,
            profile=self._settings.profile,
            min_size=limits.min_size,
            max_size=limits.max_size,
            target_latency_seconds=limits.target_latency_seconds,
            mean_service_seconds=round(limits.mean_service_seconds, 5),
            mean_service_measured=service_measured,
            expected_boot_seconds=round(limits.expected_boot_seconds, 2),
            oldest_job_age_seconds=None,
            since=fleet_history.since,
            instance_seconds=round(fleet_history.instance_seconds, 1),
            answered=fleet_history.answered,
            cost_per_1000_images_usd=fleet_history.cost_per_1000_images_usd(self._instance_usd_per_hour),
            instance_usd_per_hour=self._instance_usd_per_hour,
            instances=tuple(_instance(member) for member in snapshot.members),
            history=fleet_history.samples,
            decisions=fleet_history.decisions,
            rollout=to_rollout(plan),
            quality=self._quality.status(),
            shadow=self._quality.shadow(),
            tasks=self._task_health(),
            stack=self._settings.stack,
        )

    def _write(self, status: FleetStatus) -> None:
        try:
            self._store.put(KEY, status.encode())
        except CloudError as error:
            log.warning("%s", error)

    def _age_of_oldest_job(self, snapshot: FleetSnapshot, now: float) -> float | None:
        """As workers report it of the jobs that they receive, and as estimated of those that none has received."""
        estimated = self._oldest_job.age_seconds(snapshot.backlog.total, snapshot.answered, now)
        ages = [age for age in (snapshot.oldest_job_age_seconds, estimated) if age is not None]
        return round(max(ages), 2) if ages else None

    def _meter(self, sample: Sample, oldest_job_age_seconds: float | None) -> None:
        spent, self._metered_seconds = (
            self._fleet_history.instance_seconds - self._metered_seconds,
            self._fleet_history.instance_seconds,
        )
        cost = self._fleet_history.cost_per_1000_images_usd(self._instance_usd_per_hour)
        try:
            self._sink.put(to_metrics(sample, spent, oldest_job_age_seconds, cost))
        except CloudError as error:
            log.warning("%s", error)


def to_metrics(
    sample: Sample, instance_seconds: float, oldest_job_age_seconds: float | None, cost_usd: float | None
) -> dict[str, Metric]:
    """The metrics of one pass; ``InstanceSeconds`` counts from the metrics before."""
    metrics = {
        "Backlog": Metric(sample.visible, "Count"),
        "JobsInFlight": Metric(sample.in_flight, "Count"),
        "DesiredInstances": Metric(sample.desired, "Count"),
        "BootingInstances": Metric(sample.booting, "Count"),
        "RunningInstances": Metric(sample.running, "Count"),
        "ImagesPerSecond": Metric(sample.images_per_second, "Count/Second"),
        "InstanceSeconds": Metric(instance_seconds, "Seconds"),
    }
    if oldest_job_age_seconds is not None:
        metrics["OldestJobAge"] = Metric(oldest_job_age_seconds, "Seconds")
    if cost_usd is not None:
        metrics["CostPer1000Images"] = Metric(cost_usd, "None")
    return metrics


def to_rollout(plan: Plan) -> RolloutStatus | None:
    """The rollout under way or held, or the last one; None before the first rollout."""
    record = plan.record
    if plan.held:
        return RolloutStatus("held", record.goal.title, plan.held, record.started_at)
    if record.target is not None:
        reason = record.reason if record.phase is Phase.RETURNING else plan.reason
        return RolloutStatus(record.phase.value, record.target.title, reason, record.started_at)
    if record.past:
        last = record.past[-1]
        return RolloutStatus(last.result, last.release.title, last.reason, last.at)
    return None


def _instance(member: TrackedInstance) -> InstanceStatus:
    heartbeat, instance = member.heartbeat, member.instance
    status = InstanceStatus(
        instance.instance_id,
        instance.name,
        _STATES[member.state],
        instance.launched_at.timestamp(),
        release=instance.release,
    )
    if heartbeat is None:
        return status
    return dataclasses.replace(
        status,
        reported_at=heartbeat.at,
        in_hand=heartbeat.in_hand,
        answered=heartbeat.answered,
        images_per_second=heartbeat.images_per_second,
        model=heartbeat.model,
    )
