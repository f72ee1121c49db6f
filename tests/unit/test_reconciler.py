"""The control loop acts on decisions and survives a cloud that fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.fleet import Instance
from controller.policy import Limits
from controller.reconciler import Reconciler, choose_victims
from core.errors import CloudError
from tests.fakes import FakeClock, FakeJobQueue, Recorder

LIMITS = Limits(0, 15, target_latency_seconds=10, mean_service_seconds=1, scale_in_stabilization_seconds=60)
START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeFleet(Recorder):
    """An `aws.fleet.Fleet` in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.instances: list[Instance] = []

    def describe(self) -> list[Instance]:
        self._record("describe")
        return list(self.instances)

    def launch(self, count: int, existing: list[Instance]) -> list[str]:
        self._record("launch", count)
        first = len(self.instances)
        new = [Instance(f"i-{n}", f"app-tier-{n}", "pending", START) for n in range(first, first + count)]
        self.instances += new
        return [instance.instance_id for instance in new]

    def terminate(self, instance_ids: list[str]) -> None:
        self._record("terminate", list(instance_ids))
        self.instances = [i for i in self.instances if i.instance_id not in instance_ids]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> FakeJobQueue:
    return FakeJobQueue(clock)


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet()


@pytest.fixture
def reconciler(queue: FakeJobQueue, fleet: FakeFleet, clock: FakeClock) -> Reconciler:
    return Reconciler(queue, fleet, LIMITS, clock)  # type: ignore[arg-type]


def test_from_zero_to_the_backlog_and_back_to_zero(
    reconciler: Reconciler, queue: FakeJobQueue, fleet: FakeFleet, clock: FakeClock
) -> None:
    for number in range(35):
        queue.put_body(str(number))
    reconciler.reconcile()
    assert len(fleet.instances) == 4
    reconciler.reconcile()
    assert fleet.count("launch") == 1, "what boots is not ordered again"
    while received := queue.receive(10, 0):
        queue.delete([delivery.receipt_handle for delivery in received])
    clock.advance(30)
    reconciler.reconcile()
    assert len(fleet.instances) == 4
    clock.advance(31)
    reconciler.reconcile()
    assert fleet.instances == []


@pytest.mark.parametrize("method", ["backlog", "describe"])
def test_what_cannot_be_observed_is_met_with_hold(
    reconciler: Reconciler, queue: FakeJobQueue, fleet: FakeFleet, method: str
) -> None:
    queue.put_body("x")
    reconciler.reconcile()
    (queue if method == "backlog" else fleet).fail_next(method)
    decision = reconciler.reconcile()
    assert decision.change == 0 and "could not be observed" in decision.reason
    assert len(fleet.instances) == 1


def test_a_launch_that_fails_is_tried_again(reconciler: Reconciler, queue: FakeJobQueue, fleet: FakeFleet) -> None:
    queue.put_body("x")
    fleet.fail_next("launch", error=CloudError("InsufficientInstanceCapacity"))
    reconciler.reconcile()
    assert fleet.instances == []
    reconciler.reconcile()
    assert len(fleet.instances) == 1


def test_booting_instances_go_first_then_the_youngest() -> None:
    def instance(name: str, state: str, age_minutes: int) -> Instance:
        return Instance(name, name, state, START - timedelta(minutes=age_minutes))

    fleet = [instance("old", "running", 9), instance("young", "running", 1), instance("boots", "pending", 5)]
    assert [i.name for i in choose_victims(fleet, 2)] == ["boots", "young"]


def test_each_change_of_mind_is_one_readable_line(
    reconciler: Reconciler, queue: FakeJobQueue, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    queue.put_body("x")
    for _ in range(5):
        reconciler.reconcile()
    assert [record.getMessage() for record in caplog.records] == [
        "desired 1, have 0 (+1): backlog 1 (1 waiting + 0 in flight) at 10 for each instance needs 1",
        "desired 1, have 1 (no change): backlog 1 (1 waiting + 0 in flight) at 10 for each instance needs 1",
    ]
