"""The supervisor keeps one worker process for each emulated instance."""

from __future__ import annotations

from typing import Any

import pytest

from aws.in_memory import CallRecorder, ManualClock
from core.errors import CloudError
from local_cloud.supervisor import EmulatedInstance, Supervisor

GRACE_SECONDS = 10.0


class FakeProcess:
    def __init__(self) -> None:
        self.status: int | None = None
        self.signals: list[str] = []

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")
        self.status = -9


class FakeMachines(CallRecorder):
    def __init__(self) -> None:
        super().__init__()
        self.instances: dict[str, EmulatedInstance] = {}

    def add(self, instance_id: str, launched_at: float) -> None:
        self.instances[instance_id] = EmulatedInstance(instance_id, "app-tier-1", launched_at)

    def running(self) -> list[EmulatedInstance]:
        self._record("running")
        return list(self.instances.values())

    def terminate(self, instance_ids: list[str]) -> None:
        self._record("terminate", instance_ids)
        for instance_id in instance_ids:
            self.instances.pop(instance_id, None)


class Bench:
    def __init__(self, boot_seconds: float = 0.0, never_boots: int = 0) -> None:
        self.clock = ManualClock(1000.0)
        self.machines = FakeMachines()
        self.started: list[tuple[str, FakeProcess]] = []
        start: Any = self.start
        self.supervisor = Supervisor(self.machines, start, boot_seconds, GRACE_SECONDS, self.clock, never_boots)

    def start(self, instance: EmulatedInstance) -> FakeProcess:
        process = FakeProcess()
        self.started.append((instance.instance_id, process))
        return process

    def launch(self, instance_id: str) -> None:
        self.machines.add(instance_id, self.clock())
        self.supervisor.reconcile()


def test_one_process_for_each_instance_and_only_one() -> None:
    bench = Bench()
    bench.launch("i-1")
    bench.launch("i-2")
    bench.supervisor.reconcile()
    assert [instance_id for instance_id, _ in bench.started] == ["i-1", "i-2"]


def test_a_worker_starts_when_its_instance_has_booted() -> None:
    bench = Bench(boot_seconds=26)
    bench.launch("i-1")
    bench.clock.advance(25.9)
    bench.supervisor.reconcile()
    assert not bench.started
    bench.clock.advance(0.1)
    bench.supervisor.reconcile()
    assert len(bench.started) == 1


def test_the_first_so_many_instances_never_boot_if_so_asked() -> None:
    bench = Bench(never_boots=2)
    for number in range(4):
        bench.launch(f"i-{number}")
    bench.machines.terminate(["i-0"])
    bench.launch("i-4")
    assert [instance_id for instance_id, _ in bench.started] == ["i-2", "i-3", "i-4"]


@pytest.mark.parametrize("stops_in_time", [True, False])
def test_termination_is_sigterm_then_sigkill_after_the_grace_period(stops_in_time: bool) -> None:
    bench = Bench()
    bench.launch("i-1")
    process = bench.started[0][1]
    bench.machines.terminate(["i-1"])
    bench.supervisor.reconcile()
    assert process.signals == ["TERM"]
    if stops_in_time:
        process.status = 0
    bench.clock.advance(GRACE_SECONDS)
    bench.supervisor.reconcile()
    bench.supervisor.reconcile()
    assert process.signals == (["TERM"] if stops_in_time else ["TERM", "KILL"])


def test_a_worker_that_ends_by_itself_terminates_its_instance() -> None:
    bench = Bench()
    bench.launch("i-1")
    bench.started[0][1].status = 1
    bench.supervisor.reconcile()
    assert not bench.machines.instances
    bench.supervisor.reconcile()
    assert len(bench.started) == 1


def test_an_emulator_that_does_not_answer_changes_nothing() -> None:
    bench = Bench()
    bench.launch("i-1")
    bench.machines.fail_next("running", error=CloudError("away"))
    bench.supervisor.reconcile()
    assert bench.started[0][1].signals == []


def test_shutting_down_hands_over_every_process() -> None:
    bench = Bench()
    bench.launch("i-1")
    bench.launch("i-2")
    bench.machines.terminate(["i-1"])
    bench.supervisor.reconcile()
    assert len(bench.supervisor.shut_down()) == 2
    assert bench.supervisor.shut_down() == []
