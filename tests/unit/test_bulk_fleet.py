"""The fleet for a bulk run: the fewest instances by a deadline, the most by a budget, and never one too many."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aws.fleet import Instance
from aws.queue import Backlog
from cli.bulk_plan import plan_run
from controller.scaling.bulk_fleet import (
    MIN_BILLED_SECONDS,
    BulkFleetError,
    BulkWork,
    Deadline,
    FleetPlan,
    least_for_deadlines,
    plan_fleet,
    within_plan,
)
from controller.scaling.instance_tracker import InstanceTracker, State, TrackedInstance
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import FleetSnapshot
from controller.scaling.policy import Limits
from controller.scaling.reconciler import Decider
from core.errors import ArgumentError
from core.fleet_status import FleetStatus
from core.heartbeat import Heartbeat
from core.prices import load_prices
from core.settings import Settings

# An hour's work of ten instances, and a boot of a minute, at a dollar an hour.
WORK = BulkWork(360_000, 10.0, 60.0, 1.0, max_size=100)

works = st.builds(
    BulkWork,
    images=st.integers(1, 10**8),
    images_per_second=st.floats(0.5, 500),
    boot_seconds=st.floats(0, 600),
    usd_per_hour=st.floats(0.001, 10),
    usd_per_image=st.floats(0, 1e-5),
    max_size=st.integers(1, 500),
    max_images_per_second=st.floats(500, 1e5) | st.just(math.inf),
    boot_payback=st.floats(0, 20),
)


@pytest.mark.parametrize(
    ("work", "finish_within_seconds", "at_most_usd", "instances"),
    [
        pytest.param(WORK, 3660, None, 10, id="exactly in time"),
        pytest.param(WORK, 3659, None, 11, id="one second less"),
        pytest.param(WORK, 86_400, None, 1, id="a day"),
        pytest.param(WORK, None, 10 + 5 / 60, 5, id="ten hours of work and five boots"),
        pytest.param(WORK, None, 1000, 100, id="money does not matter"),
        pytest.param(WORK, 3660, 1000, 10, id="in time, and not faster because the money would pay it"),
        pytest.param(WORK, None, None, 100, id="neither: each works long enough"),
        pytest.param(replace(WORK, images=21_000), None, None, 10, id="neither: 2,100 s of work, 210 s each"),
        pytest.param(replace(WORK, images=10), None, None, 1, id="neither: one in any case"),
        pytest.param(replace(WORK, max_images_per_second=95), None, 1000, 10, id="no more than can be used"),
        pytest.param(replace(WORK, boot_payback=0), None, None, 100, id="boots do not matter"),
        pytest.param(replace(WORK, boot_seconds=0), 3600, None, 10, id="no boot"),
    ],
)
def test_how_many_instances(
    work: BulkWork, finish_within_seconds: float | None, at_most_usd: float | None, instances: int
) -> None:
    plan = plan_fleet(work, finish_within_seconds, at_most_usd)
    assert (plan.instances, plan.seconds, plan.usd) == (instances, work.seconds(instances), work.usd(instances))
    assert plan.reason


LIMITS = Limits(1, 20, 2.0, 0.1, 5.0, expected_boot_seconds=30.0)


@pytest.mark.parametrize(
    ("interactive", "most", "max_size"),
    [
        pytest.param(0, None, 20, id="no limit"),
        pytest.param(0, 3, 3, id="bulk images alone"),
        pytest.param(60, 3, 3, id="three instances do those images within two seconds"),
        pytest.param(61, 3, 4, id="other images alone need four"),
        pytest.param(10_000, 3, 20, id="never more than the fleet's maximum"),
        pytest.param(0, 30, 20, id="nor by the limit"),
    ],
)
def test_bulk_images_have_no_more_instances_than_planned(interactive: int, most: int | None, max_size: int) -> None:
    assert within_plan(LIMITS, interactive, most) == replace(LIMITS, max_size=max_size)


def test_a_limit_below_the_minimum_keeps_the_minimum() -> None:
    assert within_plan(replace(LIMITS, min_size=4), 0, 2).max_size == 4


# Ten images a second, a boot of 30 s.
@pytest.mark.parametrize(
    ("deadlines", "capacity", "least"),
    [
        pytest.param([], 5, 0, id="no deadline"),
        pytest.param([Deadline(0, 100.0)], 5, 0, id="no image is left"),
        pytest.param([Deadline(1_400, 100.0)], 0, 2, id="two work for 70 s after their boot"),
        pytest.param([Deadline(1_401, 100.0)], 0, 3, id="one image more"),
        pytest.param([Deadline(1_700, 100.0)], 1, 2, id="one is there, and works for 100 s"),
        pytest.param([Deadline(1_700, 100.0)], 9, 2, id="fewer than are there suffice"),
        pytest.param([Deadline(10**6, 100.0)], 0, 20, id="never more than the fleet's maximum"),
        pytest.param([Deadline(10**6, 100.0, ceiling=4)], 0, 4, id="nor than the ceiling"),
        pytest.param([Deadline(10**6, 30.0)], 3, 3, id="a launch comes too late: what is there is kept"),
        pytest.param([Deadline(10**6, -5.0)], 3, 3, id="so it is after the deadline"),
        pytest.param([Deadline(10**6, 20.0)], 0, 0, id="nothing is there: the policy alone decides"),
        pytest.param([Deadline(1_400, 100.0), Deadline(700, 100.0)], 0, 3, id="runs share the fleet"),
        pytest.param([Deadline(1_000, 100.0), Deadline(2_000, 200.0)], 2, 2, id="the nearest takes what is there"),
    ],
)
def test_a_deadline_is_a_floor(deadlines: list[Deadline], capacity: int, least: int) -> None:
    assert least_for_deadlines(deadlines, replace(LIMITS, min_size=0), capacity) == least


@given(
    deadlines=st.lists(
        st.builds(
            Deadline,
            st.integers(0, 10**7),
            st.floats(-1e4, 1e6, allow_nan=False),
            st.integers(0, 30),
        ),
        max_size=4,
    ),
    capacity=st.integers(0, 40),
    limits=st.builds(
        lambda low, high, service, boot: Limits(low, max(low, high), 2.0, service, 5.0, expected_boot_seconds=boot),
        st.integers(0, 5),
        st.integers(0, 200),
        st.floats(1e-3, 10),
        st.floats(0, 300),
    ),
    interactive=st.integers(0, 10**5),
    most=st.none() | st.integers(0, 50),
)
def test_the_floor_of_any_deadlines(
    deadlines: list[Deadline], capacity: int, limits: Limits, interactive: int, most: int | None
) -> None:
    least = least_for_deadlines(deadlines, limits, capacity)
    applied = within_plan(limits, interactive, most, least)
    assert 0 <= least <= limits.max_size
    assert limits.min_size <= applied.min_size <= applied.max_size <= limits.max_size
    if all(deadline.ceiling for deadline in deadlines):
        assert least <= sum(deadline.ceiling for deadline in deadlines if deadline.images), "what the budgets pay"
    if not any(deadline.images for deadline in deadlines):
        assert least == 0 and applied.min_size == limits.min_size, "nothing is left"
    more = [replace(deadline, images=2 * deadline.images) for deadline in deadlines]
    if len(deadlines) == 1 and deadlines[0].seconds_left > limits.expected_boot_seconds:
        assert least <= least_for_deadlines(more, limits, capacity)


@pytest.mark.parametrize(
    ("seconds", "instances"), [pytest.param(None, 2, id="by itself"), pytest.param(100.0, 3, id="for the deadline")]
)
def test_a_deadline_launches_what_the_policy_alone_would_not(seconds: float | None, instances: int) -> None:
    """2,000 images are 200 s of work, which do not pay for a third boot of 30 s."""
    limits = replace(LIMITS, min_size=0, boot_payback=3.5)
    now = 0.0
    decider = Decider(CurrentLimits(limits, InstanceTracker(60, 60, 15), lambda: 0, measure_service=False), lambda: now)
    waiting, answered, ready_at, sizes, reasons = 2_000, 0, list[float](), [], []
    while waiting:
        running = sum(at <= now for at in ready_at)
        done = min(waiting, 10 * running)
        waiting, answered = waiting - done, answered + done
        deadlines = () if seconds is None or not waiting else (Deadline(waiting, seconds - now),)
        snapshot = FleetSnapshot(
            Backlog(waiting, 0),
            members(running),
            len(ready_at) - running,
            answered,
            bulk_images=waiting,
            bulk_deadlines=deadlines,
        )
        decision, _ = decider.decide(snapshot)
        ready_at += [now + 30.0] * (decision.desired_capacity - len(ready_at))
        sizes.append(len(ready_at))
        reasons.append(decision.reason)
        now += 1.0
    assert max(sizes) == instances
    assert now - 1 <= (seconds or math.inf)
    assert any("a deadline of bulk images needs 3" in reason for reason in reasons) == (seconds is not None)


@pytest.mark.parametrize("boot_payback", [0.0, 3.5])
def test_the_fleet_grows_to_the_limit_and_not_beyond(boot_payback: float) -> None:
    """A worker's rate is ten a second; the policy sees the answers of a run as work that keeps arriving."""
    limits = replace(LIMITS, min_size=0, boot_payback=boot_payback)
    now = 0.0
    decider = Decider(CurrentLimits(limits, InstanceTracker(60, 60, 15), lambda: 0, measure_service=False), lambda: now)
    waiting, fleet, answered, sizes, reasons = 20_000, 0, 0, [], set()
    while waiting:
        done = min(waiting, 10 * fleet)
        waiting, answered = waiting - done, answered + done
        snapshot = FleetSnapshot(
            Backlog(waiting, 0), members(fleet), 0, answered, bulk_images=waiting, bulk_max_instances=3
        )
        decision, published = decider.decide(snapshot)
        fleet = decision.desired_capacity
        sizes.append(fleet)
        reasons.add(decision.reason.rpartition("; ")[2])
        assert published.max_size == 20, "the status shows the fleet's own limits"
        now += 1.0
    assert max(sizes) == 3 and "bulk images may have 3" in reasons
    assert 20_000 / 30 <= now <= 20_000 / 30 + 60


def members(count: int) -> tuple[TrackedInstance, ...]:
    launched = datetime(2026, 1, 1, tzinfo=UTC)
    return tuple(
        TrackedInstance(Instance(f"i-{number}", "", "running", launched), State.RUNNING, 0.0, Heartbeat(0, 1))
        for number in range(count)
    )


def test_a_run_without_images_needs_none() -> None:
    assert plan_fleet(replace(WORK, images=0), 1, 0) == FleetPlan(0, 0.0, 0.0, "no image waits")


@pytest.mark.parametrize(
    ("work", "finish_within_seconds", "at_most_usd", "sentence"),
    [
        (WORK, 30, None, "cannot be finished in 30 s: 100 instances, the most that can be used, need 7 min"),
        (WORK, None, 10, r"cost \$10.02 with one instance: more than \$10.00"),
        (WORK, 3660, 10.1, r"in 61 min cost \$10.17 with 10 instances, the fewest in time: more than \$10.10"),
        (replace(WORK, max_size=0), 3660, None, "the maximum of instances is 0"),
        (replace(WORK, max_size=1), 3660, None, "one instance, the most that can be used, need 10.0 h"),
    ],
)
def test_what_is_not_possible_says_what_is(
    work: BulkWork, finish_within_seconds: float | None, at_most_usd: float | None, sentence: str
) -> None:
    with pytest.raises(BulkFleetError, match=sentence):
        plan_fleet(work, finish_within_seconds, at_most_usd)


def plan(settings: Settings, status: FleetStatus | None, usd: float | None = None) -> FleetPlan:
    return plan_run(1_000_000, 150, settings, status, load_prices(), None if usd else 3600, usd)


def test_a_run_is_planned_by_what_the_fleet_has_measured() -> None:
    """Without a status, by the settings: a million images of 30 ms in an hour but for half a minute."""
    settings = Settings(mean_service_seconds=0.03, expected_boot_seconds=30.0, max_size=15)
    assert plan(settings, None).instances == math.ceil(1_000_000 * 0.03 / 3570) == 9
    status = FleetStatus(1.0, "c", "", 0, 40, 2.0, 0.1, True, 600.0, None, 0.0, 0.0, 0, None, instance_usd_per_hour=2.0)
    measured = plan(settings, status)
    assert measured.instances == math.ceil(1_000_000 * 0.1 / 3000) == 34
    requests_usd = measured.usd - 34 * measured.seconds / 3600 * 2.0
    assert 0.4 < requests_usd < 1, "each photo is a read; a job has many"


def test_a_run_is_not_faster_than_its_jobs_are_enqueued_and_s3_gives_its_photos() -> None:
    fast = Settings(mean_service_seconds=0.0001, expected_boot_seconds=30.0)
    assert plan(fast, None, 100).seconds == pytest.approx(30 + 1_000_000 / 5500)
    small_jobs = plan_run(1_000_000, 10, fast, None, load_prices(), None, 100)
    assert small_jobs.seconds == pytest.approx(30 + 1_000_000 / 400)


def test_a_budget_needs_a_price() -> None:
    settings = Settings(instance_types="x9.unknown")
    with pytest.raises(ArgumentError, match="set EIC_INSTANCE_USD_PER_HOUR"):
        plan(settings, None, 5)
    assert plan(settings, None).instances > 0


def test_the_first_minute_is_billed_whole() -> None:
    small = replace(WORK, images=100, boot_seconds=5)
    assert small.seconds(1) == 15
    assert small.usd(1) == pytest.approx(MIN_BILLED_SECONDS / 3600)


@given(works, st.integers(1, 499))
def test_more_instances_are_never_slower_and_never_cheaper(work: BulkWork, count: int) -> None:
    assert work.seconds(count + 1) <= work.seconds(count) * (1 + 1e-12)
    assert work.usd(count + 1) >= work.usd(count) * (1 - 1e-12)


@given(works, st.floats(1, 1e6))
def test_a_deadline_is_met_with_the_fewest_and_so_with_the_least_money(work: BulkWork, within_seconds: float) -> None:
    try:
        plan = plan_fleet(work, within_seconds)
    except BulkFleetError:
        assert all(work.seconds(count) > within_seconds for count in range(1, work.max_size + 1))
        return
    assert plan.seconds <= within_seconds and 1 <= plan.instances <= work.max_size
    assert plan.instances == 1 or work.seconds(plan.instances - 1) > within_seconds


@given(works, st.floats(1, 5))
def test_a_budget_is_kept_with_the_fastest_that_it_pays(work: BulkWork, times: float) -> None:
    budget = work.usd(1) * times
    plan = plan_fleet(work, None, budget)
    assert plan.usd <= budget and 1 <= plan.instances <= work.max_size
    more = plan.instances + 1
    assert more > work.max_size or work.usd(more) > budget or work.seconds(more) >= plan.seconds * (1 - 1e-12)


@given(works, st.floats(1, 1e6), st.floats(0.0001, 1000))
def test_both_are_kept_or_refused(work: BulkWork, within_seconds: float, budget: float) -> None:
    try:
        plan = plan_fleet(work, within_seconds, budget)
    except BulkFleetError:
        possible = (count for count in range(1, work.max_size + 1) if work.seconds(count) <= within_seconds)
        assert all(work.usd(count) > budget * (1 - 1e-9) for count in possible)
    else:
        assert plan.seconds <= within_seconds and plan.usd <= budget


@given(works)
def test_without_a_wish_each_instance_is_worth_its_boot(work: BulkWork) -> None:
    plan = plan_fleet(work)
    assert 1 <= plan.instances <= work.max_size
    assume(plan.instances > 1)
    worked = work.images / work.images_per_second / plan.instances
    assert worked >= work.boot_payback * work.boot_seconds * (1 - 1e-9)
