"""The policy "one instance for each request": a table of cases, and exact counts however looks cut a burst."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.policy import Limits, Observation, ScalingDecision
from controller.scaling.request_policy import decide

WINDOW_SECONDS = 2.0
LIMITS = Limits(
    min_size=0,
    max_size=15,
    target_latency_seconds=0.1,
    mean_service_seconds=1,
    scale_in_stabilization_seconds=WINDOW_SECONDS,
)


def replay(limits: Limits, *steps: tuple[float, Observation]) -> ScalingDecision:
    """The decision about the last of several observations, each with its time."""
    decision = ScalingDecision(0, 0, "", ())
    for now, observation in steps:
        decision = decide(observation, limits, decision.history, now, decision.desired_capacity)
    return decision


def seen(visible: int = 0, in_flight: int = 0, booting: int = 0, running: int = 0, busy: int = 0) -> Observation:
    return Observation(visible, in_flight, booting, running, busy=busy)


@pytest.mark.parametrize(
    ("observation", "desired", "change", "reason"),
    [
        (seen(), 0, 0, "no requests need no instance"),
        (seen(visible=1), 1, 1, "1 request needs 1, one for each"),
        (seen(visible=10), 10, 10, "10 requests need 10, one for each"),
        (seen(visible=7, in_flight=3, running=3), 10, 7, "10 requests need 10, one for each"),
        (seen(visible=15), 15, 15, "15 requests need 15, one for each"),
        (seen(visible=100), 15, 15, "100 requests need 15, one for each, up to the maximum"),
        (seen(visible=10, booting=10), 10, 0, "10 requests need 10, one for each"),
        (seen(in_flight=2, running=10), 10, 0, "2 requests need 2, one for each; keeping 10 until all are answered"),
        (seen(in_flight=2, running=16), 15, -1, "2 requests need 2, one for each; keeping 15 until all are answered"),
        # Heartbeats are late: a worker that was busy at its last one has answered since.
        (seen(running=10, busy=10), 0, -10, "no requests need no instance"),
    ],
)
def test_one_observation(observation: Observation, desired: int, change: int, reason: str) -> None:
    decision = replay(LIMITS, (0.0, observation))
    assert (decision.desired_capacity, decision.change) == (desired, change)
    assert decision.reason.startswith(reason)


def test_the_fleet_ends_when_nothing_has_come_for_the_window() -> None:
    there = [(0.0, seen(visible=3)), (1.0, seen(in_flight=3, running=3)), (1.5, seen(running=3))]
    assert replay(LIMITS, *there).change == 0
    assert replay(LIMITS, *there, (2.9, seen(running=3))).change == 0
    ended = replay(LIMITS, *there, (3.6, seen(running=3)))
    assert (ended.desired_capacity, ended.change) == (0, -3)
    # Another request within the window: one after the other needs one instance, not one launch each.
    again = replay(LIMITS, *there, (2.9, seen(visible=1, running=3)), (4.0, seen(running=3)))
    assert again.change == 0


def test_a_minimum_is_kept_and_one_decision_is_limited_to_a_step() -> None:
    limits = dataclasses.replace(LIMITS, min_size=2, scale_out_step=4, scale_in_step=3)
    assert replay(limits, (0.0, seen())).change == 2
    first = replay(limits, (0.0, seen(visible=10)))
    assert (first.change, first.reason) == (4, "10 requests need 10, one for each; at most 4 at a time")
    assert replay(limits, (0.0, seen(running=9))).change == -3


def test_what_could_not_be_observed_changes_nothing() -> None:
    old = dataclasses.replace(seen(visible=9), age_seconds=61.0)
    for observation in (None, old):
        decision = decide(observation, LIMITS, (), 0.0, 4)
        assert (decision.desired_capacity, decision.change) == (4, 0)
        assert decision.reason.startswith("holding")


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30), st.floats(0.05, 1.0), st.floats(0, 1)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 20),
)
def test_there_are_as_many_instances_as_there_were_requests_at_a_time(
    looks: list[tuple[int, int, float, float]], max_size: int
) -> None:
    """However looks cut the arrivals, whatever is answered between them, and whichever requests are in flight."""
    limits = dataclasses.replace(LIMITS, max_size=max_size)
    now = empty_since = 0.0
    backlog = capacity = highest = 0
    decision = ScalingDecision(0, 0, "", ())
    for arrived, answered, seconds, share in looks:
        now += seconds
        had, backlog = backlog, max(0, backlog - answered) + arrived
        in_flight = int(backlog * share)
        observation = seen(visible=backlog - in_flight, in_flight=in_flight, running=capacity)
        decision = decide(observation, limits, decision.history, now, decision.desired_capacity)
        capacity += decision.change
        highest = max(highest, backlog)
        if backlog:
            assert capacity == min(highest, max_size)
        elif had:
            empty_since = now
        elif now - empty_since > WINDOW_SECONDS + 1.0:
            assert capacity == highest == 0
        if capacity == 0:
            highest = 0
