"""The control loop over fakes: it follows decisions, survives a cloud that fails, and its own death at any line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from collections.abc import Callable, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aws.ec2_fleet_launch import LaunchProblem
from aws.in_memory import CallRecorder, InMemoryFleet, InMemoryJobQueue, InMemoryStateStore, ManualClock
from aws.lease import KEY as LEASE_KEY
from aws.lease import QUIET_FACTOR, Lease
from controller.rollout.store import RolloutPlanner
from controller.scaling.executor import Executor
from controller.scaling.heartbeat_reader import HeartbeatReader
from controller.scaling.instance_tracker import InstanceTracker
from controller.scaling.launch_backoff import FATAL_DELAY_SECONDS
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import Observer
from controller.scaling.policy import Limits
from controller.scaling.reconciler import Reconciler, explain
from controller.status.publisher import MAX_QUIET_SECONDS, StatusPublisher
from core.errors import CloudError
from core.fleet_status import KEY as STATUS_KEY
from core.fleet_status import FleetStatus
from core.heartbeat import Heartbeat, key_of
from core.periodic_task import PeriodicTask, TaskHealth
from core.releases import KEY as RELEASE_KEY
from core.releases import Phase, ReleaseRecord
from core.settings import Settings

MAX_SIZE = 5
LEASE_SECONDS = 6.0
BOOT_GRACE_SECONDS, TIMEOUT_SECONDS, HEARTBEAT_SECONDS = 60.0, 20.0, 2.0
STABILIZATION_SECONDS = 10.0
LIMITS = Limits(
    0,
    MAX_SIZE,
    target_latency_seconds=10,
    mean_service_seconds=1,
    scale_in_stabilization_seconds=STABILIZATION_SECONDS,
)
SETTINGS = Settings(status_interval_seconds=5, metrics_interval_seconds=60, instance_usd_per_hour=3.6)


class FakeSink(CallRecorder):
    def put(self, metrics: Mapping[str, object]) -> None:
        self._record("put", metrics)


class Cloud:
    """Queue, fleet and state bucket, and workers that report."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bulk_images = 0
        self.bulk_max_instances: int | None = None
        self.queue = InMemoryJobQueue(self.clock)
        self.fleet = InMemoryFleet(self.clock)
        self.store = InMemoryStateStore(self.clock)
        self.sink = FakeSink()
        self.names = itertools.count(1)
        self.answered_by_each = 0
        self.mute: set[str] = set()
        self.broken: set[int] = set()

    def controller(
        self,
        task_health: Callable[[], tuple[TaskHealth, ...]] = tuple,
        on_pass: Callable[[bool], None] = lambda quiet: None,
    ) -> Controller:
        return Controller(self, task_health, on_pass)

    def work_arrives(self, count: int) -> None:
        for number in range(count):
            self.queue.put_body(str(number))

    def work_is_done(self) -> None:
        while received := self.queue.receive(10, 0):
            self.queue.delete([delivery.receipt_handle for delivery in received])

    def workers_report(self) -> None:
        for instance_id in self.fleet.instances:
            if instance_id not in self.mute:
                release = self.fleet.instances[instance_id].release
                failure = "broken" if release in self.broken else ""
                beat = Heartbeat(self.clock(), 1.0, answered=self.answered_by_each, release=release, failure=failure)
                self.store.put(key_of(instance_id), beat.encode())

    def roll_out(self, model: str) -> None:
        """What `elastic model promote` does."""
        record = self.releases()
        self.store.put(RELEASE_KEY, record.begun("", model, self.clock()).encode())

    def releases(self) -> ReleaseRecord:
        found = self.store.objects.get(RELEASE_KEY)
        return ReleaseRecord() if found is None else ReleaseRecord.decode(found.body)

    def status(self) -> FleetStatus:
        return FleetStatus.decode(self.store.objects[STATUS_KEY].body)


class Controller:
    """One controller, wired as `controller.__main__` does."""

    def __init__(
        self, cloud: Cloud, task_health: Callable[[], tuple[TaskHealth, ...]], on_pass: Callable[[bool], None]
    ) -> None:
        self.cloud = cloud
        clock = cloud.clock
        self.lease = Lease(cloud.store, f"controller-{next(cloud.names)}", LEASE_SECONDS, clock)
        tracker = InstanceTracker(BOOT_GRACE_SECONDS, TIMEOUT_SECONDS, HEARTBEAT_SECONDS)
        reports = HeartbeatReader(cloud.store, HEARTBEAT_SECONDS, TIMEOUT_SECONDS, clock)
        self.reconciler = Reconciler(
            self.lease,
            Observer(
                cloud.queue,
                cloud.fleet,
                reports,
                tracker,
                clock,
                lambda: cloud.bulk_images,
                lambda: cloud.bulk_max_instances,
            ),
            CurrentLimits(LIMITS, tracker, lambda: 0, measure_service=False),
            RolloutPlanner(cloud.store, MAX_SIZE, BOOT_GRACE_SECONDS, clock, clock),
            Executor(cloud.fleet, self.lease, tracker, MAX_SIZE, clock, clock),
            StatusPublisher(cloud.store, cloud.sink, SETTINGS, self.lease.holder, clock, clock, task_health),
            clock,
            on_pass=on_pass,
        )

    def run(self, seconds: int, *, reporting: bool = True) -> None:
        """A pass each second."""
        for _ in range(seconds):
            self.cloud.clock.advance(1)
            if reporting:
                self.cloud.workers_report()
            self.reconciler.reconcile()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_images_of_bulk_runs_have_the_instances_of_their_plan_and_other_images_as_many_as_they_need(
    cloud: Cloud,
) -> None:
    controller = cloud.controller()
    cloud.bulk_images, cloud.bulk_max_instances = 10_000, 2
    controller.run(3)
    assert len(cloud.fleet.instances) == 2
    assert cloud.status().max_size == MAX_SIZE
    assert cloud.status().decisions[0].reason.endswith("; bulk images may have 2")
    cloud.work_arrives(35)
    controller.run(1)
    assert len(cloud.fleet.instances) == 4, "as many as without the run"
    cloud.bulk_max_instances = None
    controller.run(1)
    assert len(cloud.fleet.instances) == MAX_SIZE


def test_from_zero_to_the_backlog_and_back_to_zero(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.work_arrives(35)
    controller.run(1)
    assert len(cloud.fleet.instances) == 4
    controller.run(5)
    assert cloud.fleet.count("launch") == 1, "what boots is not ordered again"
    assert {i.name for i in cloud.fleet.instances.values()} == {f"app-tier-{n}" for n in range(1, 5)}
    cloud.work_is_done()
    controller.run(int(STABILIZATION_SECONDS) - 2)
    assert len(cloud.fleet.instances) == 4
    controller.run(5)
    assert cloud.fleet.instances == {}


@pytest.mark.parametrize(("part", "method"), [("queue", "backlog"), ("fleet", "describe"), ("store", "list")])
def test_what_cannot_be_observed_is_met_with_hold(cloud: Cloud, part: str, method: str) -> None:
    controller = cloud.controller()
    cloud.work_arrives(1)
    controller.run(1)
    cloud.work_is_done()
    getattr(cloud, part).fail_next(method)
    decision = controller.reconciler.reconcile()
    assert decision is not None
    assert decision.change == 0 and decision.desired_capacity == 1 and "could not be observed" in decision.reason
    assert len(cloud.fleet.instances) == 1


def test_what_ec2_does_not_describe_yet_is_not_ordered_again(cloud: Cloud) -> None:
    cloud.fleet.lag_seconds = 10
    controller = cloud.controller()
    cloud.work_arrives(100)
    controller.run(10, reporting=False)
    assert len(cloud.fleet.instances) == MAX_SIZE
    controller.run(10)
    assert cloud.fleet.highest == MAX_SIZE and cloud.fleet.count("launch") == 1


def test_a_lack_of_capacity_is_met_with_patience_and_reported(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.fleet.capacity = 1
    cloud.work_arrives(100)
    controller.run(30)
    assert len(cloud.fleet.instances) == 1
    assert 3 <= cloud.fleet.count("launch") <= 8, "neither given up nor hammered"
    assert "no capacity" in cloud.status().decisions[-1].reason
    cloud.fleet.capacity = 100
    controller.run(31)
    assert len(cloud.fleet.instances) == MAX_SIZE == cloud.fleet.highest


def test_what_an_operator_has_to_put_right_is_reported_and_tried_rarely(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    controller = cloud.controller()
    cloud.fleet.capacity = 0
    cloud.fleet.problem = LaunchProblem("UnauthorizedOperation", "not allowed to launch", retryable=False)
    cloud.work_arrives(100)
    controller.run(60)
    assert cloud.fleet.count("launch") == 1
    assert [record.levelname for record in caplog.records if "not allowed" in record.getMessage()] == ["ERROR"]
    assert "not allowed to launch" in cloud.status().decisions[-1].reason
    cloud.fleet.capacity = 100
    controller.run(int(FATAL_DELAY_SECONDS))
    assert len(cloud.fleet.instances) == MAX_SIZE


@pytest.mark.parametrize("moment", ["launch", "launched"])
def test_a_launch_without_an_answer_is_asked_for_again_and_not_doubled(cloud: Cloud, moment: str) -> None:
    controller = cloud.controller()
    cloud.work_arrives(35)
    cloud.fleet.fail_next(moment)
    controller.run(1)
    controller.run(3)
    assert len(cloud.fleet.instances) == 4 == cloud.fleet.highest


@pytest.mark.parametrize("lag_seconds", [0, 10])
def test_what_died_before_anybody_saw_it_is_ordered_again_at_once(cloud: Cloud, lag_seconds: float) -> None:
    cloud.fleet.lag_seconds = lag_seconds
    controller = cloud.controller()
    cloud.work_arrives(35)
    controller.run(1)
    cloud.fleet.instances.clear()
    controller.run(2)
    assert len(cloud.fleet.instances) == 4


def test_an_announced_launch_whose_instances_are_dead_by_now_holds_up_no_other(cloud: Cloud) -> None:
    first = cloud.controller()
    cloud.work_arrives(35)
    first.run(1)
    cloud.fleet.instances.clear()
    second = cloud.controller()
    second.run(int(LEASE_SECONDS) + 3)
    assert second.lease.held() and len(cloud.fleet.instances) == 4


def test_an_instance_that_never_boots_is_replaced(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.work_arrives(100)
    controller.run(1, reporting=False)
    dead = next(iter(cloud.fleet.instances))
    cloud.mute.add(dead)
    controller.run(int(BOOT_GRACE_SECONDS) + 3)
    assert dead not in cloud.fleet.instances
    assert len(cloud.fleet.instances) == MAX_SIZE == cloud.fleet.highest


def test_an_instance_that_stops_reporting_is_replaced(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.work_arrives(100)
    controller.run(5)
    silent = next(iter(cloud.fleet.instances))
    cloud.mute.add(silent)
    controller.run(int(TIMEOUT_SECONDS) + 6)
    assert silent not in cloud.fleet.instances
    assert len(cloud.fleet.instances) == MAX_SIZE == cloud.fleet.highest


def test_orphans_of_a_dead_controller_are_adopted_and_named(cloud: Cloud) -> None:
    cloud.fleet.add("app-tier-2")
    cloud.fleet.add("")
    cloud.work_arrives(35)
    cloud.controller().run(2)
    assert sorted(i.name for i in cloud.fleet.instances.values()) == [f"app-tier-{n}" for n in range(1, 5)]
    assert cloud.fleet.highest == 4


def test_a_new_controller_does_not_empty_a_fleet_that_was_busy_a_moment_ago(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.fleet.add()
    controller = cloud.controller()
    controller.run(int(STABILIZATION_SECONDS) - 1)
    assert len(cloud.fleet.instances) == 3
    controller.run(3)
    assert cloud.fleet.instances == {}


def test_a_second_controller_waits_and_takes_over_in_time(cloud: Cloud) -> None:
    first, second = cloud.controller(), cloud.controller()
    first.run(1)
    second.run(5)
    first.run(1)
    cloud.work_arrives(100)
    second.run(1)
    assert cloud.fleet.count("describe") == 2, "who waits looks at nothing"
    second.run(int(QUIET_FACTOR * LEASE_SECONDS) + 2)
    assert len(cloud.fleet.instances) == MAX_SIZE
    assert first.reconciler.reconcile() is None


def test_without_the_lease_nothing_is_launched_even_if_it_was_lost_a_moment_ago(cloud: Cloud) -> None:
    controller = cloud.controller()
    controller.run(1)
    cloud.work_arrives(100)
    cloud.store.put(LEASE_KEY, b"another's")
    controller.run(1)
    assert cloud.fleet.instances == {}


def test_a_stopped_controller_hands_over_at_once(cloud: Cloud) -> None:

    stop = threading.Event()
    stop.set()
    first, second = cloud.controller(), cloud.controller()
    first.run(1)
    first.reconciler.run(1, stop)
    second.run(1)
    assert second.lease.held()


def test_the_status_says_what_is_and_the_next_controller_goes_on_with_it(cloud: Cloud) -> None:
    first = cloud.controller()
    cloud.work_arrives(35)
    first.run(10)
    cloud.answered_by_each = 3
    first.run(10)
    status = cloud.status()
    assert (status.controller_id, status.max_size, len(status.instances)) == (first.lease.holder, MAX_SIZE, 4)
    assert {instance.state for instance in status.instances} == {"running"}
    assert status.latest is not None and (status.latest.desired, status.latest.running) == (4, 4)
    assert status.decisions[0].change == 4 and "backlog 35" in status.decisions[0].reason
    assert status.instance_seconds == pytest.approx(4 * 19, abs=4 * 5)
    assert status.cost_per_1000_images_usd == pytest.approx(status.instance_seconds * 0.001 / status.answered * 1000)

    second = cloud.controller()
    second.run(10)
    cloud.answered_by_each = 5
    second.run(10)
    later = cloud.status()
    assert later.controller_id == second.lease.holder
    assert later.since == status.since and later.decisions[0] == status.decisions[0]
    assert later.instance_seconds > status.instance_seconds
    assert (status.answered, later.answered) == (12, 20)
    assert later.history[0] == status.history[0]


def test_a_history_that_cannot_be_read_at_once_is_not_written_over(cloud: Cloud) -> None:
    first = cloud.controller()
    cloud.work_arrives(35)
    first.run(5)
    before = cloud.status()
    cloud.clock.advance(LEASE_SECONDS)
    second = cloud.controller()
    second.run(1)
    cloud.store.fail_next("get", times=2, where=lambda key: key == STATUS_KEY)
    second.run(int(LEASE_SECONDS) + 4)
    assert cloud.status().controller_id == second.lease.holder
    assert cloud.status().since == before.since and cloud.status().decisions[0] == before.decisions[0]


def test_an_idle_hour_costs_few_requests_and_the_first_job_is_seen_in_the_next_pass(cloud: Cloud) -> None:
    controller, minutes = cloud.controller(), 10
    controller.run(60)
    before = {method: cloud.store.count(method) for method in ("replace", "put", "list")}
    controller.run(60 * minutes)
    an_hour = {method: (cloud.store.count(method) - count) * 60 / minutes for method, count in before.items()}
    # The lease, the status, the heartbeats.
    assert an_hour["replace"] <= 3600 / (QUIET_FACTOR * LEASE_SECONDS / 3)
    assert an_hour["put"] <= 3600 / MAX_QUIET_SECONDS
    assert an_hour["list"] <= 3600 / (10 * HEARTBEAT_SECONDS)
    cloud.work_arrives(100)
    controller.run(1)
    assert len(cloud.fleet.instances) == MAX_SIZE
    assert cloud.status().history[-1].visible == 100


def test_whether_nothing_is_under_way_is_noted_with_each_pass(cloud: Cloud) -> None:
    noted: list[bool] = []
    controller = cloud.controller(on_pass=noted.append)
    controller.run(1)
    cloud.work_arrives(1)
    controller.run(1)
    cloud.work_is_done()
    controller.run(1)
    assert noted == [True, False, False], "an instance is there"
    cloud.queue.fail_next("backlog")
    controller.run(30)
    assert noted[3] is False and noted[-1] is True
    cloud.store.put(LEASE_KEY, b"another's")
    controller.run(int(QUIET_FACTOR * LEASE_SECONDS / 3) + 1)
    assert noted[-1] is False, "without the lease it does not know"


def test_metrics_come_with_each_change_and_else_every_minute(cloud: Cloud) -> None:
    controller = cloud.controller()
    controller.run(59)
    assert cloud.sink.count("put") == 1
    cloud.work_arrives(35)
    controller.run(1)
    assert cloud.sink.count("put") == 2
    controller.run(61)
    assert cloud.sink.count("put") == 3
    names = set(cloud.sink.calls[-1][1])
    assert {"Backlog", "JobsInFlight", "DesiredInstances", "RunningInstances", "InstanceSeconds"} <= names


def test_no_metrics_are_reported_where_the_settings_switch_them_off(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SETTINGS", dataclasses.replace(SETTINGS, metrics_interval_seconds=0))
    controller = cloud.controller()
    cloud.work_arrives(35)
    controller.run(70)
    assert cloud.sink.count("put") == 0


@pytest.mark.parametrize(("part", "method"), [("store", "put"), ("sink", "put")])
def test_what_cannot_be_published_stops_nothing(cloud: Cloud, part: str, method: str) -> None:
    controller = cloud.controller()
    getattr(cloud, part).fail_next(method, times=99)
    cloud.work_arrives(35)
    controller.run(3, reporting=False)
    assert len(cloud.fleet.instances) == 4


def test_each_change_of_mind_is_one_readable_line(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "controller.scaling.reconciler")
    cloud.work_arrives(1)
    cloud.controller().run(5)
    assert [record.getMessage() for record in caplog.records] == [
        "leading, generation 1 of the lease",
        "desired 1, have 0 (+1): backlog 1 (1 waiting + 0 in flight) at 10 for each instance needs 1",
        "desired 1, have 1 (no change): backlog 1 (1 waiting + 0 in flight) at 10 for each instance needs 1",
    ]


def test_a_dry_run_explains_and_touches_nothing(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            cloud.clock.advance(1)
            if cloud.clock() > start + 3:
                self.set()
            return self.is_set()

    start = cloud.clock()
    caplog.set_level("INFO", "controller.scaling.reconciler")
    cloud.fleet.add()
    cloud.workers_report()
    cloud.work_arrives(35)
    objects = dict(cloud.store.objects)
    tracker = InstanceTracker(BOOT_GRACE_SECONDS, TIMEOUT_SECONDS, HEARTBEAT_SECONDS)
    reports = HeartbeatReader(cloud.store, HEARTBEAT_SECONDS, TIMEOUT_SECONDS, cloud.clock, keep=True)
    observer = Observer(cloud.queue, cloud.fleet, reports, tracker, cloud.clock)
    limits = CurrentLimits(LIMITS, tracker, lambda: 0, measure_service=False)
    explain(observer, limits, 1.0, Stop())
    assert any("desired 4, have 1 (+3)" in record.getMessage() for record in caplog.records)
    assert cloud.store.objects == objects
    assert {name for name, _ in cloud.fleet.calls} == {"describe"}


@pytest.mark.parametrize(
    ("part", "method"),
    [("queue", "backlog"), ("fleet", "describe"), ("fleet", "launch"), ("store", "list"), ("store", "put")],
)
def test_an_unexpected_exception_ends_one_pass_and_not_the_loop(cloud: Cloud, part: str, method: str) -> None:
    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            cloud.clock.advance(1)
            cloud.workers_report()
            if cloud.clock() > start + 10:
                self.set()
            return self.is_set()

    start = cloud.clock()
    cloud.work_arrives(35)
    mine = {"put": STATUS_KEY}.get(method)
    getattr(cloud, part).fail_next(
        method, error=RuntimeError("a fault"), where=lambda first=mine: mine in (None, first)
    )
    cloud.controller().reconciler.run(1.0, Stop())
    assert len(cloud.fleet.instances) == 4
    assert cloud.status().latest is not None


def test_the_status_says_how_the_periodic_tasks_fare(cloud: Cloud) -> None:
    outcomes: list[Exception] = []

    def sweep() -> None:
        if outcomes:
            raise outcomes[0]

    task = PeriodicTask("sweep", 15.0, sweep, clock=cloud.clock)
    controller = cloud.controller(lambda: (task.health,))
    task.run_round()
    controller.run(10)
    assert cloud.status().tasks == (task.health,) and cloud.status().remarks == ()
    outcomes.append(CloudError("access denied"))
    for _round in range(30):
        task.run_round()
        controller.run(5)
    controller.run(int(MAX_QUIET_SECONDS))  # it is published less often while nothing is under way
    [remark] = cloud.status().remarks
    assert remark.alarming
    assert remark.sentence == (
        "Periodic task sweep: no success for 3 min; 30 of 31 rounds failed, the latest: access denied"
    )
    outcomes.clear()
    task.run_round()
    controller.run(int(MAX_QUIET_SECONDS))
    assert cloud.status().remarks == ()


def test_a_rollout_replaces_the_fleet_and_reports_what_it_does(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.work_arrives(35)
    controller.run(5)
    cloud.roll_out("m@2")
    seen: list[tuple[int, int]] = []
    for _ in range(20):
        controller.run(1)
        releases = [i.release for i in cloud.fleet.instances.values()]
        seen.append((releases.count(0), releases.count(1)))
    assert (4, 1) in seen and seen[-1] == (0, 4), seen
    assert min(old + new for old, new in seen) == 4
    assert cloud.fleet.highest == MAX_SIZE
    reported = cloud.status()
    assert reported.rollout is not None and reported.rollout.phase == "done" and "m@2" in reported.rollout.release
    assert any("a first instance" in decision.reason for decision in reported.decisions)
    cloud.work_is_done()
    controller.run(40)
    assert cloud.fleet.instances == {}


def test_a_rollout_without_any_instance_tries_one_and_keeps_none(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.roll_out("m@2")
    controller.run(8)
    assert cloud.releases().current.model == "m@2" and cloud.fleet.highest == 1
    controller.run(30)
    assert cloud.fleet.instances == {}


def test_a_broken_release_is_taken_back_while_the_fleet_goes_on(cloud: Cloud) -> None:
    controller = cloud.controller()
    cloud.work_arrives(25)
    controller.run(5)
    cloud.broken = {1}
    before = set(cloud.fleet.instances)
    cloud.roll_out("m@2")
    controller.run(60)
    record = cloud.releases()
    assert (record.phase, record.current.number) == (Phase.STEADY, 0)
    assert record.past[-1].result == "failed" and "broken" in record.past[-1].reason
    assert set(cloud.fleet.instances) == before, "none of them was touched"
    cloud.roll_out("m@3")
    controller.run(30)
    assert cloud.releases().current.number == 2


class _Crash(BaseException):
    """The process dies here."""


@given(
    deaths=st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 8)), min_size=1, max_size=4),
    arrivals=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    lag=st.booleans(),
)
# Dies after a second launch request, while EC2 does not describe yet what the first one launched.
@example(deaths=[(8, False, 0), (14, True, 0)], arrivals=[1, 10], lag=True)
def test_it_may_die_at_any_line_and_converges(
    deaths: list[tuple[int, bool, int]], arrivals: list[int], lag: bool
) -> None:
    """Each life ends before or after the effect of some request; the next begins, and there are never too many."""
    cloud = Cloud()
    cloud.fleet.lag_seconds = 10 if lag else 0
    padded = itertools.chain(arrivals, itertools.repeat(0))
    for (countdown, after_effect, pause), arriving in zip(deaths, padded, strict=False):
        cloud.work_arrives(arriving)
        _live_until_death(cloud, countdown, after_effect)
        cloud.clock.advance(pause)
    cloud.work_arrives(1000)
    survivor = cloud.controller()
    survivor.run(int(QUIET_FACTOR * LEASE_SECONDS) + 4)
    survivor.run(40)
    assert cloud.fleet.highest <= MAX_SIZE
    assert len(cloud.fleet.instances) == MAX_SIZE
    cloud.work_is_done()
    survivor.run(40)
    assert cloud.fleet.instances == {}
    assert json.loads(cloud.store.objects[LEASE_KEY].body)["note"] == ""


@given(
    deaths=st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 8)), min_size=1, max_size=4),
    arriving=st.integers(0, 60),
    lag=st.booleans(),
    broken=st.booleans(),
)
def test_a_rollout_goes_on_wherever_a_controller_dies(
    deaths: list[tuple[int, bool, int]], arriving: int, lag: bool, broken: bool
) -> None:
    cloud = Cloud()
    cloud.fleet.lag_seconds = 10 if lag else 0
    cloud.work_arrives(arriving)
    cloud.controller().run(30)
    cloud.broken = {1} if broken else set()
    cloud.clock.advance(2 * LEASE_SECONDS)
    cloud.roll_out("m@2")
    for countdown, after_effect, pause in deaths:
        _live_until_death(cloud, countdown, after_effect)
        cloud.clock.advance(pause)
    cloud.controller().run(150)
    record = cloud.releases()
    assert record.phase is Phase.STEADY and record.past[-1].result == ("failed" if broken else "done")
    assert {i.release for i in cloud.fleet.instances.values()} <= {record.current.number}
    assert cloud.fleet.highest <= MAX_SIZE
    assert (len(cloud.fleet.instances) > 0) is (arriving > 0)


def _live_until_death(cloud: Cloud, countdown: int, after_effect: bool) -> None:
    """Runs a controller until its request number `countdown`, at most for a minute."""
    left = countdown

    def deadly(part: object, method: str) -> Callable[[], None]:
        plain = getattr(part, method)

        def call(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0 and not after_effect:
                raise _Crash
            answer = plain(*arguments)
            if left == 0:
                raise _Crash
            return answer

        setattr(part, method, call)
        return lambda: setattr(part, method, plain)

    requests = [
        (cloud.queue, ("backlog",)),
        (cloud.fleet, ("describe", "launch", "name", "terminate")),
        (cloud.store, ("get", "create", "replace", "delete", "list")),
    ]
    restore = [deadly(part, method) for part, methods in requests for method in methods]
    try:
        cloud.controller().run(60)
    except _Crash:
        pass
    finally:
        for undo in restore:
            undo()


def test_an_unexpected_failure_of_each_request_is_survived(cloud: Cloud) -> None:
    controller = cloud.controller()
    for part, methods in (
        (cloud.queue, ("backlog",)),
        (cloud.fleet, ("describe", "launch", "name", "terminate")),
        (cloud.store, ("get", "replace", "list", "delete")),
    ):
        for method in methods:
            part.fail_next(method, times=3, error=CloudError(f"{method} does not answer"))
    cloud.work_arrives(100)
    controller.run(60)
    assert len(cloud.fleet.instances) == MAX_SIZE == cloud.fleet.highest
    cloud.work_is_done()
    controller.run(60)
    assert cloud.fleet.instances == {}
