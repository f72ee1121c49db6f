"""Who boots, runs, has fallen silent or was launched in vain; and whom scale-in takes."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from aws.fleet import Instance
from controller.scaling.instance_tracker import (
    SETTLE_SECONDS,
    InstanceTracker,
    Report,
    State,
    TrackedInstance,
    select_for_termination,
)
from core.heartbeat import Heartbeat

GRACE_SECONDS, TIMEOUT_SECONDS, STEP_SECONDS = 180.0, 60.0, 15.0
START = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Instance("i-1", "app-tier-1", "running", START)
TWO = Instance("i-2", "app-tier-2", "running", START)


class Bench:
    def __init__(self) -> None:
        self.tracker = InstanceTracker(GRACE_SECONDS, TIMEOUT_SECONDS, STEP_SECONDS)
        self.now = 1000.0
        self.reports: dict[str, Report] = {}

    def look(self, *instances: Instance) -> dict[str, State]:
        members = self.tracker.update(instances, self.reports, self.now, self.now)
        return {member.instance.instance_id: member.state for member in members}

    def wait(self, seconds: float, *instances: Instance) -> dict[str, State]:
        """Looks every second for so long."""
        states = {}
        for _ in range(round(seconds)):
            self.now += 1
            states = self.look(*instances)
        return states


def test_an_instance_boots_until_its_worker_reports() -> None:
    bench = Bench()
    assert bench.look(ONE) == {"i-1": State.BOOTING}
    bench.reports["i-1"] = Report("e1")
    assert bench.wait(1, ONE) == {"i-1": State.RUNNING}


def test_one_that_never_reports_was_launched_in_vain_after_the_grace_period() -> None:
    bench = Bench()
    bench.look(ONE)
    assert bench.wait(GRACE_SECONDS - 1, ONE) == {"i-1": State.BOOTING}
    assert bench.wait(1, ONE) == {"i-1": State.BOOT_TIMEOUT}


def test_one_that_stops_reporting_falls_silent_and_may_come_back() -> None:
    bench = Bench()
    bench.reports["i-1"] = Report("e1")
    bench.look(ONE)
    assert bench.wait(TIMEOUT_SECONDS - 1, ONE) == {"i-1": State.RUNNING}
    assert bench.wait(1, ONE) == {"i-1": State.UNRESPONSIVE}
    bench.reports["i-1"] = Report("e2")
    assert bench.wait(1, ONE) == {"i-1": State.RUNNING}


def test_an_outage_of_the_listing_is_held_against_no_instance() -> None:
    bench = Bench()
    bench.reports["i-1"] = Report("e1")
    bench.look(ONE, TWO)
    bench.now += 10 * GRACE_SECONDS
    assert bench.look(ONE, TWO) == {"i-1": State.RUNNING, "i-2": State.BOOTING}


def test_a_pass_that_did_not_list_the_reports_again_counts_no_silence() -> None:
    bench = Bench()
    bench.reports["i-1"] = Report("e1")
    bench.look(ONE)
    listed_at = bench.now
    for _ in range(100):
        bench.now += 1
        (member,) = bench.tracker.update([ONE], bench.reports, listed_at, bench.now)
    assert member.quiet_seconds == 0


def test_one_that_was_just_discovered_has_not_been_quiet_since_the_listing_before() -> None:
    bench = Bench()
    bench.look(TWO)
    bench.now += 7.5
    one, two = bench.tracker.update([ONE, TWO], bench.reports, bench.now, bench.now)
    assert (one.quiet_seconds, two.quiet_seconds) == (0, 7.5)


def test_a_heartbeat_may_be_as_old_as_the_listing_before_it() -> None:
    bench = Bench()
    bench.look(ONE)
    bench.reports["i-1"] = Report("e1")
    bench.now += 7.5
    (member,) = bench.tracker.update([ONE], bench.reports, bench.now, bench.now + 1)
    assert (member.quiet_seconds, member.unreported_seconds) == (0, 8.5)
    (member,) = bench.tracker.update([ONE], bench.reports, bench.now, bench.now + 3)
    assert member.unreported_seconds == 10.5


def test_the_boot_time_is_measured_for_launches_of_our_own_only() -> None:
    bench = Bench()
    assert bench.tracker.expected_boot_seconds is None
    bench.tracker.launched(["i-1"], bench.now)
    bench.tracker.launched(["i-2"], bench.now, just_now=False)
    bench.wait(26, ONE, TWO)
    bench.reports |= {"i-1": Report("e1"), "i-2": Report("e1")}
    bench.look(ONE, TWO)
    assert bench.tracker.expected_boot_seconds == 26
    bench.reports["i-1"] = Report("e2")
    bench.wait(5, ONE, TWO)
    assert bench.tracker.expected_boot_seconds == 26, "only the first report ends a boot"


def test_what_ec2_does_not_describe_yet_counts_for_a_while() -> None:
    bench = Bench()
    bench.tracker.launched(["i-1", "i-2"], bench.now)
    assert list(bench.tracker.unseen(bench.now)) == ["i-1", "i-2"]
    bench.look(ONE)
    assert list(bench.tracker.unseen(bench.now)) == ["i-2"]
    bench.tracker.launched(["i-1"], bench.now)
    assert list(bench.tracker.unseen(bench.now)) == ["i-2"], "the other has been seen"
    assert bench.tracker.unseen(bench.now + SETTLE_SECONDS) == {}


def test_what_ended_before_it_was_described_is_not_waited_for() -> None:
    bench = Bench()
    bench.tracker.launched(["i-1", "i-2"], bench.now)
    bench.tracker.ended({"i-1", "i-other"})
    assert list(bench.tracker.unseen(bench.now)) == ["i-2"]


def test_what_ec2_still_describes_after_its_termination_does_not_count() -> None:
    bench = Bench()
    bench.look(ONE, TWO)
    bench.tracker.terminated(["i-1"], bench.now)
    assert bench.look(ONE, TWO) == {"i-2": State.BOOTING}
    bench.now += SETTLE_SECONDS
    assert bench.look(ONE, TWO) == {"i-1": State.BOOTING, "i-2": State.BOOTING}


def member(
    name: str, state: State, age_minutes: int, quiet_seconds: float = 0, in_hand: int | None = 0
) -> TrackedInstance:
    launched_at = datetime.fromtimestamp(START.timestamp() - 60 * age_minutes, UTC)
    heartbeat = None if in_hand is None else Heartbeat(0, 0, in_hand=in_hand)
    return TrackedInstance(Instance(name, name, "running", launched_at), state, quiet_seconds, heartbeat)


@pytest.mark.parametrize("count", range(7))
def test_victims_are_those_whose_loss_costs_least(count: int) -> None:
    fleet = [
        member("old idle", State.RUNNING, 9),
        member("unknown", State.RUNNING, 7, in_hand=None),
        member("young busy", State.RUNNING, 1, in_hand=3),
        member("young idle", State.RUNNING, 2),
        member("boots", State.BOOTING, 1, quiet_seconds=5),
        member("boots in vain", State.BOOTING, 1, quiet_seconds=50),
    ]
    order = ["boots in vain", "boots", "young idle", "old idle", "young busy", "unknown"]
    assert [victim.instance.name for victim in select_for_termination(fleet, count)] == order[:count]


@pytest.mark.parametrize(
    ("report", "idle_since"),
    [
        pytest.param(Report("e2", Heartbeat(1.0, 1.0, idle_seconds=1.0)), 1001.0, id="found nothing"),
        pytest.param(Report("e2", Heartbeat(1.0, 1.0, idle_seconds=0.9)), -math.inf, id="not for long enough"),
        pytest.param(Report("e2", Heartbeat(1.0, 1.0, in_hand=1, idle_seconds=1.0)), -math.inf, id="just received"),
        pytest.param(Report("e2", Heartbeat(1.0, 1.0)), -math.inf, id="an earlier version"),
        pytest.param(Report("e2", Heartbeat(1.0, 1.0, idle_seconds=1.0), is_read=False), -math.inf, id="not read"),
    ],
)
def test_a_worker_found_nothing_after_the_listing_before_its_heartbeat(report: Report, idle_since: float) -> None:
    bench = Bench()
    bench.reports["i-1"] = Report("e1", Heartbeat(0.0, 1.0))
    bench.wait(1, ONE)
    bench.reports["i-1"] = report
    bench.now += 1
    (member,) = bench.tracker.update([ONE], bench.reports, bench.now, bench.now)
    assert member.idle_since == idle_since
