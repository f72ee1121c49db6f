"""Launches that fail in a row: how fast they are repeated, when that is forgotten, and what is published about it."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.deploy import fleet_of
from cli.fleet import render
from controller.scaling.launch_backoff import (
    FATAL_DELAY_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_START_DELAY_SECONDS,
    LaunchBackoff,
)
from core.errors import CloudError
from core.fleet_status import LaunchTrouble
from tests.unit.test_reconciler import BOOT_GRACE_SECONDS, MAX_SIZE, Cloud

MINUTES = 3
# At most the fleet twice, then one at a time: after 2, 4, 8, … seconds, and from then on every two minutes.
MOST_LAUNCHED = 2 * MAX_SIZE + 6 + MINUTES * 60 / MAX_START_DELAY_SECONDS


def pauses_after(fail: str, times: int) -> list[float]:
    """How long nothing may be launched after each of so many failures, each as soon as a launch was possible."""
    backoff, now = LaunchBackoff(), 0.0
    pauses: list[float] = []
    for _ in range(times):
        if fail == "start":
            backoff.start_failed(now, 0, "it ended")
        else:
            backoff.refused(now, "refused", retryable=fail != "fatal", some=fail == "some")
        pauses.append(next(wait for wait in itertools.count() if backoff.most(now + wait, 0)))
        now += pauses[-1]
    return pauses


@pytest.mark.parametrize(
    ("fail", "pauses"),
    [
        ("start", [1, 2, 4, 8, 16, 32, 64, MAX_START_DELAY_SECONDS, MAX_START_DELAY_SECONDS]),
        ("refusal", [1, 2, 4, 8, 16, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]),
        ("some", [1, 1, 1]),
        ("fatal", [FATAL_DELAY_SECONDS, FATAL_DELAY_SECONDS]),
    ],
)
def test_each_pause_is_twice_as_long_as_the_last_up_to_a_bound(fail: str, pauses: list[float]) -> None:
    assert pauses_after(fail, len(pauses)) == pauses


def test_a_very_long_row_of_failures_stays_within_the_bound() -> None:
    assert pauses_after("start", 100)[-1] == MAX_START_DELAY_SECONDS


def test_instances_that_fail_together_cause_one_pause_and_the_second_pause_ends_with_a_probe() -> None:
    backoff = LaunchBackoff()
    for _ in range(15):
        backoff.start_failed(100, 0, "it ended")
    assert backoff.failed_starts(0).count == 15
    assert (backoff.most(100.9, 0), backoff.most(101, 0) > 15) == (0, True)
    backoff.start_failed(105, 0, "it ended")
    assert (backoff.most(106.9, 0), backoff.most(107, 0)) == (0, 1)


def test_failures_of_a_release_slow_no_other_down_and_are_forgotten_when_one_works() -> None:
    backoff = LaunchBackoff()
    for at in (0, 10, 20, 30):
        backoff.start_failed(at, 1, "it ended")
    assert (backoff.most(31, 1), backoff.most(31, 2) > 15) == (0, True)
    backoff.works(1)
    assert backoff.most(31, 1) > 15 and backoff.failed_starts(1).count == 0


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (LaunchTrouble("instance", 1, "a-1: it ended", 90), "An instance has failed: a-1: it ended"),
        (
            LaunchTrouble("instance", 7, "a-1: it ended", 132.4),
            "7 instances in a row have failed, the last: a-1: it ended; launches pause for 32 s",
        ),
        (
            LaunchTrouble("launch request", 2, "no capacity", 100),
            "2 launch requests in a row have failed, the last: no capacity",
        ),
    ],
)
def test_the_trouble_in_a_sentence(trouble: LaunchTrouble, sentence: str) -> None:
    assert trouble.sentence(100) == sentence


class DyingCloud(Cloud):
    """Each instance fails before it works: its worker reports that, or never reports, or the instance ends by itself.

    Args:
        ways: how the instances fail, one after the other, again and again.
        age_seconds: how old an instance is when it ends.
    """

    def __init__(self, ways: list[str], age_seconds: int) -> None:
        super().__init__()
        self._ways = itertools.cycle(ways)
        self._way_of: dict[str, str] = {}
        self._age_seconds = age_seconds
        self.is_mended = False

    @property
    def launched(self) -> int:
        return len(self._way_of)

    def workers_report(self) -> None:
        for instance_id, instance in list(self.fleet.instances.items()):
            way = self._way_of.setdefault(instance_id, "works" if self.is_mended else next(self._ways))
            age_seconds = self.clock() - instance.launched_at.timestamp()
            if way == "ends" and age_seconds >= self._age_seconds:
                del self.fleet.instances[instance_id]
        self.mute = {instance_id for instance_id, way in self._way_of.items() if way in ("silent", "ends")}
        self.broken = set() if self.is_mended else {0}
        super().workers_report()


@settings(max_examples=4)
@given(
    ways=st.lists(st.sampled_from(["reports", "silent", "ends"]), min_size=1, max_size=3),
    age_seconds=st.integers(0, 20),
    lag_seconds=st.sampled_from([0, 5]),
)
def test_a_fleet_whose_workers_all_fail_at_start_launches_few_and_a_good_one_recovers_at_once(
    ways: list[str], age_seconds: int, lag_seconds: int
) -> None:
    cloud = DyingCloud(ways, age_seconds)
    cloud.fleet.lag_seconds = lag_seconds
    cloud.work_arrives(1000)
    controller = cloud.controller()
    controller.run(MINUTES * 60)
    assert 2 < cloud.launched <= MOST_LAUNCHED
    trouble = cloud.status().trouble
    assert trouble is not None and trouble.failures >= 2
    assert cloud.status().remarks[0].alarming and "in a row have failed" in cloud.status().remarks[0].sentence

    cloud.is_mended = True
    for _ in range(int(MAX_START_DELAY_SECONDS + BOOT_GRACE_SECONDS)):
        controller.run(1)
        if (latest := cloud.status().latest) is not None and latest.running:
            break
    controller.run(2 * lag_seconds + 3)
    assert len(cloud.fleet.instances) == MAX_SIZE == cloud.fleet.highest
    assert cloud.status().trouble is None


def test_the_reason_is_the_workers_own_and_stands_beside_the_decision() -> None:
    cloud = DyingCloud(["reports"], 0)
    cloud.work_arrives(35)
    cloud.controller().run(20)
    status = cloud.status()
    assert status.trouble is not None and status.trouble.reason.endswith(": broken")
    reasons = [decision.reason for decision in status.decisions]
    assert any("terminated app-tier-1, which cannot work: broken" in reason for reason in reasons)
    for decision in status.decisions:
        if decision.change < 0:
            assert "terminated" in decision.reason, decision
        if 0 < decision.change < 4:
            assert "launches are slowed down" in decision.reason, decision


def test_a_launch_without_a_response_is_repeated_ever_more_rarely_and_the_status_goes_on() -> None:
    cloud = Cloud()
    cloud.work_arrives(35)
    cloud.fleet.fail_next("launch", times=6, error=CloudError("launching instances: 503"))
    controller = cloud.controller()
    controller.run(20)
    assert cloud.fleet.count("launch") == 5, "at once, and after 1, 2, 4 and 8 s"
    status = cloud.status()
    assert cloud.clock() - status.at <= 5 and status.latest is not None and status.latest.visible == 35
    assert status.remarks[0].alarming
    assert "5 launch requests in a row have failed, the last: launching instances: 503" in status.remarks[0].sentence
    assert "EC2 has not responded" in status.decisions[-1].reason
    controller.run(60)
    assert len(cloud.fleet.instances) == 4 == cloud.fleet.highest and cloud.status().trouble is None


def test_the_commands_give_the_reason() -> None:
    cloud = DyingCloud(["reports"], 0)
    cloud.work_arrives(35)
    cloud.controller().run(20)
    console = Console(file=io.StringIO(), width=200)
    console.print(render(cloud.status(), cloud.clock()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (shown, fleet_of(cloud.store)):  # type: ignore[arg-type]
        assert "instances in a row have failed, the last: app-tier-" in text and ": broken" in text
