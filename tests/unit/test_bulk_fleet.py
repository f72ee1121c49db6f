"""The fleet for a bulk run: the fewest instances by a deadline, the most by a budget, and never one too many."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.scaling.bulk_fleet import MIN_BILLED_SECONDS, BulkFleetError, BulkWork, FleetPlan, plan_fleet

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
