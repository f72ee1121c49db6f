"""The policy's limits follow what is measured and what the schedule says."""

from __future__ import annotations

from datetime import UTC, datetime

from aws.fleet import Instance
from aws.queue import Backlog
from controller.scaling.instance_tracker import InstanceTracker, Report, State, TrackedInstance
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import FleetSnapshot
from controller.scaling.policy import Limits
from core.heartbeat import Heartbeat

BASE = Limits(0, 5, 2.0, 0.03, 3.0, expected_boot_seconds=30.0)


def worker(rate: float, service_seconds: float | None) -> TrackedInstance:
    instance = Instance("i-1", "", "running", datetime(2026, 1, 1, tzinfo=UTC))
    beat = Heartbeat(0, 0, images_per_second=rate, mean_service_seconds=service_seconds)
    return TrackedInstance(instance, State.RUNNING, 0.0, beat)


def seen(*members: TrackedInstance) -> FleetSnapshot:
    return FleetSnapshot(Backlog(0, 0), members, 0)


def test_the_service_time_is_the_workers_mean_weighted_by_what_they_answer_and_stays() -> None:
    limits = CurrentLimits(BASE, InstanceTracker(60, 60, 15), lambda: 0, measure_service=True)
    assert limits.now(None).mean_service_seconds == 0.03 and not limits.service_measured
    measured = limits.now(seen(worker(30.0, 0.02), worker(10.0, 0.06), worker(0.0, None))).mean_service_seconds
    assert abs(measured - 0.03) < 1e-9 and limits.service_measured
    limits.now(seen(worker(1.0, 0.1)))
    assert limits.now(seen(worker(0.0, None))).mean_service_seconds == 0.1


def test_measuring_can_be_switched_off() -> None:
    limits = CurrentLimits(BASE, InstanceTracker(60, 60, 15), lambda: 0, measure_service=False)
    assert limits.now(seen(worker(1.0, 0.5))).mean_service_seconds == 0.03
    assert not limits.service_measured


def test_the_boot_time_is_assumed_until_one_was_measured() -> None:
    tracker = InstanceTracker(60, 60, 15)
    limits = CurrentLimits(BASE, tracker, lambda: 0, measure_service=True)
    assert limits.now(None).expected_boot_seconds == 30.0
    instance = worker(0, None).instance
    tracker.launched([instance.instance_id], 100.0)
    tracker.update([instance], {}, 101.0, 101.0)
    tracker.update([instance], {instance.instance_id: Report("e")}, 112.0, 112.0)
    assert limits.now(None).expected_boot_seconds == 12.0


def test_the_floor_is_that_of_the_moment_and_never_above_the_maximum() -> None:
    floors = iter([0, 2, 9])
    limits = CurrentLimits(BASE, InstanceTracker(60, 60, 15), lambda: next(floors), measure_service=True)
    assert [limits.now(None).min_size for _ in range(3)] == [0, 2, 5]
