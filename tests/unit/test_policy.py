"""The scaling policy: a table of cases, then properties that hold for every case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import Limits, Observation, Recommendation, ScalingDecision, decide

# Ten jobs for each instance; scale-in after a minute.
LIMITS = Limits(
    min_size=0,
    max_size=15,
    target_latency_seconds=10,
    mean_service_seconds=1,
    scale_in_stabilization_seconds=60,
)


def seen(visible: int = 0, in_flight: int = 0, booting: int = 0, running: int = 0) -> Observation:
    return Observation(visible, in_flight, booting, running)


@pytest.mark.parametrize(
    ("observation", "desired", "change"),
    [
        pytest.param(seen(), 0, 0, id="nothing to do"),
        pytest.param(seen(visible=1), 1, 1, id="one job wakes one instance"),
        pytest.param(seen(visible=10), 1, 1, id="exactly one instance's share"),
        pytest.param(seen(visible=11), 2, 2, id="one more than that"),
        pytest.param(seen(visible=10_000), 15, 15, id="limited to the maximum"),
        pytest.param(seen(visible=30, booting=3), 3, 0, id="what boots is not ordered again"),
        pytest.param(seen(visible=30, booting=1, running=1), 3, 1, id="only what is missing is ordered"),
        pytest.param(seen(in_flight=25, running=3), 3, 0, id="jobs in flight keep their instances"),
        pytest.param(seen(visible=5, in_flight=25, running=3), 3, 0, id="waiting and in flight count together"),
        pytest.param(seen(running=4), 0, -4, id="idle instances go when no earlier need is remembered"),
    ],
)
def test_decisions_without_history(observation: Observation, desired: int, change: int) -> None:
    decision = decide(observation, LIMITS, (), now=0)
    assert (decision.desired_capacity, decision.change) == (desired, change)
    assert decision.reason


def test_scale_in_waits_for_the_highest_recommendation_of_the_window() -> None:
    busy = decide(seen(visible=40, running=4), LIMITS, (), now=0)
    idle_soon = decide(seen(running=4), LIMITS, busy.history, now=30)
    assert (idle_soon.desired_capacity, idle_soon.change) == (4, 0)
    assert "keeping 4" in idle_soon.reason
    idle_long = decide(seen(running=4), LIMITS, idle_soon.history, now=61)
    assert (idle_long.desired_capacity, idle_long.change) == (0, -4)


def test_one_low_reading_under_load_never_shrinks_the_fleet() -> None:
    history: tuple[Recommendation, ...] = ()
    for now, visible in enumerate([40, 0, 40, 0, 0, 40]):
        decision = decide(seen(visible=visible, running=4), LIMITS, history, now=now)
        history = decision.history
        assert decision.change == 0


def test_a_failed_observation_holds() -> None:
    decision = decide(None, LIMITS, (Recommendation(0, 4),), now=100, previous_desired=4)
    assert (decision.desired_capacity, decision.change) == (4, 0)
    assert decision.history == (Recommendation(0, 4),)


def test_the_minimum_is_kept_without_work_and_the_reason_says_so() -> None:
    limits = Limits(2, 15, 10, 1, 60)
    decision = decide(seen(), limits, (), now=0)
    assert decision.change == 2 and "minimum of 2" in decision.reason


def test_more_instances_than_the_maximum_are_brought_down() -> None:
    decision = decide(seen(visible=10_000, running=20), LIMITS, (), now=0)
    assert (decision.desired_capacity, decision.change) == (15, -5)


counts = st.integers(0, 100_000)
sizes = st.integers(0, 40)
observations = st.builds(Observation, counts, counts, sizes, sizes)
limits = st.builds(
    lambda low, extra, latency, service, window: Limits(low, max(1, low + extra), latency, service, window),
    st.integers(0, 20),
    st.integers(0, 20),
    st.floats(0.01, 1000),
    st.floats(0.001, 100),
    st.floats(0, 600),
)


def after(decision: ScalingDecision, observation: Observation) -> Observation:
    """What is seen once the decision has been carried out."""
    return Observation(observation.visible, observation.in_flight, 0, decision.desired_capacity)


@given(observations, limits)
def test_always_within_limits(observation: Observation, bounds: Limits) -> None:
    assert bounds.min_size <= decide(observation, bounds, (), now=0).desired_capacity <= bounds.max_size


@given(observations, limits)
def test_desired_is_capacity_plus_change(observation: Observation, bounds: Limits) -> None:
    decision = decide(observation, bounds, (), now=0)
    assert decision.desired_capacity == observation.capacity + decision.change


@given(observations, counts, limits)
def test_more_backlog_never_means_fewer_instances(observation: Observation, more: int, bounds: Limits) -> None:
    larger = Observation(observation.visible + more, observation.in_flight, observation.booting, observation.running)
    desired = decide(observation, bounds, (), now=0).desired_capacity
    assert decide(larger, bounds, (), now=0).desired_capacity >= desired


@given(observations, limits)
def test_deciding_again_once_done_changes_nothing(observation: Observation, bounds: Limits) -> None:
    first = decide(observation, bounds, (), now=0)
    second = decide(after(first, observation), bounds, first.history, now=1)
    assert second.change == 0


@given(st.lists(counts, min_size=1, max_size=50), limits)
def test_within_the_window_the_fleet_never_shrinks_below_what_was_needed(backlogs: list[int], bounds: Limits) -> None:
    history: tuple[Recommendation, ...] = ()
    capacity, needed = 0, 0
    step = bounds.scale_in_stabilization_seconds / (len(backlogs) + 1)
    for index, backlog in enumerate(backlogs):
        decision = decide(Observation(backlog, 0, 0, capacity), bounds, history, now=index * step)
        history, capacity = decision.history, decision.desired_capacity
        needed = max(needed, decide(Observation(backlog, 0, 0, 0), bounds, (), now=0).desired_capacity)
        if step > 0:
            assert capacity == needed


@given(st.lists(counts, max_size=50), limits)
def test_history_stays_short(backlogs: list[int], bounds: Limits) -> None:
    history: tuple[Recommendation, ...] = ()
    for index, backlog in enumerate(backlogs):
        history = decide(Observation(backlog, 0, 0, 0), bounds, history, now=index).history
        assert len(history) <= bounds.max_size + 1
