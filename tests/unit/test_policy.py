"""The scaling policy: a table of cases, then properties that hold for every case."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.history import LOAD_WINDOW_SECONDS, SAMPLES
from controller.scaling.policy import Limits, Observation, Recommendation, ScalingDecision, decide

# Ten jobs for each instance; scale-in after a minute.
LIMITS = Limits(
    min_size=0,
    max_size=15,
    target_latency_seconds=10,
    mean_service_seconds=1,
    scale_in_stabilization_seconds=60,
)
# Ten jobs a second for each instance, boots of 20 s, and an ordered instance should expect 100 s of work.
BOOTING_LIMITS = dataclasses.replace(
    LIMITS, mean_service_seconds=0.1, expected_boot_seconds=20.0, boot_payback=5.0, scale_in_stabilization_seconds=3.0
)


def seen(
    visible: int = 0,
    in_flight: int = 0,
    booting: int = 0,
    running: int = 0,
    busy: int = 0,
    answered: int = 0,
) -> Observation:
    return Observation(visible, in_flight, booting, running, busy=busy, answered=answered)


def replay(limits: Limits, *steps: tuple[float, Observation]) -> ScalingDecision:
    """The decision about the last of several observations, each with its time."""
    decision = ScalingDecision(0, 0, "", ())
    for now, observation in steps:
        decision = decide(observation, limits, decision.history, now, decision.desired_capacity)
    return decision


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
    # For all that is known, the four were needed until it was seen that they were not.
    idle_long = decide(seen(running=4), LIMITS, idle_soon.history, now=89)
    assert idle_long.change == 0
    idle_long = decide(seen(running=4), LIMITS, idle_long.history, now=90)
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
    assert decision.change == 2 and "the minimum" in decision.reason


def test_more_instances_than_the_maximum_are_brought_down() -> None:
    decision = decide(seen(visible=10_000, running=20), LIMITS, (), now=0)
    assert (decision.desired_capacity, decision.change) == (15, -5)


@pytest.mark.parametrize(
    ("observation", "desired"),
    [
        pytest.param(seen(visible=1), 1, id="from nothing to one at once, whatever it pays"),
        pytest.param(seen(visible=900), 1, id="90 s of work pay for one boot of 20 s"),
        pytest.param(seen(visible=3000), 3, id="300 s of work pay for three, though ten would be faster"),
        pytest.param(seen(visible=1_000_000), 15, id="enough work pays for all"),
        pytest.param(seen(visible=190, running=1, busy=1), 1, id="done before another would have booted"),
        pytest.param(seen(visible=2000, running=1, busy=1), 2, id="not done before: another is ordered"),
        pytest.param(seen(visible=3000, booting=1), 3, id="one that boots is one of the three"),
    ],
)
def test_an_instance_is_ordered_only_if_it_pays(observation: Observation, desired: int) -> None:
    assert decide(observation, BOOTING_LIMITS, (), now=0).desired_capacity == desired


def test_where_the_bound_is_what_a_boot_costs_the_reason_says_so() -> None:
    assert "only 3 would work long enough" in decide(seen(visible=3000), BOOTING_LIMITS, (), now=0).reason


def test_as_many_instances_as_images_where_boots_cost_nothing() -> None:
    exact = dataclasses.replace(BOOTING_LIMITS, boot_payback=0.0, target_latency_seconds=0.1)
    for waiting in range(1, 16):
        for running in range(waiting):
            assert decide(seen(visible=waiting, running=running), exact, (), now=0).desired_capacity == waiting
    lasting = replay(exact, *steady(150, 1, 3, 5.0, backlog=3))
    assert lasting.history[-1].loaded_at < math.inf and lasting.change == 0, "those for the backlog do the load, too"


def steady(
    until: float, busy: int, running: int, per_second: float, backlog: int = 0
) -> list[tuple[float, Observation]]:
    """Once a second, the same backlog, and `per_second` answers more."""
    return [
        (float(now), seen(backlog, 0, 0, running, busy, answered=round(per_second * now))) for now in range(int(until))
    ]


@pytest.mark.parametrize(
    ("per_second", "running", "change"),
    [
        pytest.param(9.0, 1, 0, id="nine tenths of one instance: one is enough"),
        pytest.param(9.8, 1, 1, id="almost all of it: another before it is too late"),
        pytest.param(14.0, 2, 0, id="between the two shares nothing moves"),
        pytest.param(21.0, 2, 1, id="more arrives than two can do"),
    ],
)
def test_lasting_arrivals_order_instances_before_a_backlog_does(per_second: float, running: int, change: int) -> None:
    # So long that load is expected to last for the 100 s that an instance must be worth.
    decision = replay(BOOTING_LIMITS, *steady(250, running, running, per_second, backlog=1))
    assert decision.change == change


def test_an_image_now_and_then_is_no_load() -> None:
    """Less than one in the time of a boot: keeping an instance for the next one costs more than booting again."""

    def every(seconds: int) -> int:
        steps = [(float(now), seen(running=1, answered=now // seconds)) for now in range(201)]
        return replay(BOOTING_LIMITS, *steps, (201.0, seen(running=1, answered=201 // seconds))).desired_capacity

    assert (every(15), every(30)) == (1, 0)


def test_what_comes_at_once_is_no_load() -> None:
    steps = [(0.0, seen()), (1.0, seen(visible=1000))] + [(now, seen(visible=1000, booting=1)) for now in range(2, 90)]
    assert replay(BOOTING_LIMITS, *steps).desired_capacity == 1


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([0] * 60, id="the counts say nothing for a minute"),
        pytest.param([500, 0] * 30, id="every other count says nothing"),
        pytest.param([500] * 20 + [0] * 40, id="the counts forget all that waits"),
    ],
)
def test_lagging_counts_never_shrink_a_fleet_that_works(counts: list[int]) -> None:
    start = [(0.0, seen(visible=500, running=5, busy=5))]
    late = [(now + 1.0, seen(visible=count, running=5, busy=5)) for now, count in enumerate(counts)]
    for end in range(1, len(late)):
        assert replay(BOOTING_LIMITS, *start, *late[:end]).change >= 0


def test_only_idle_instances_go() -> None:
    steps = [(float(now), seen(running=6, busy=2)) for now in range(10)]
    decision = replay(BOOTING_LIMITS, *steps)
    assert (decision.desired_capacity, decision.change) == (2, -4)
    assert "2 that are at work" in decision.reason


def test_after_a_burst_the_fleet_goes_within_seconds() -> None:
    burst = [(0.0, seen(visible=100, answered=0)), (20.0, seen(in_flight=100, running=1, busy=1, answered=0))]
    idle = [(32.0 + now, seen(running=1, answered=99)) for now in range(4)]
    assert replay(BOOTING_LIMITS, *burst, *idle[:1]).change == 0, "one of the answers may be missing"
    assert replay(BOOTING_LIMITS, *burst, *idle).change == -1
    assert replay(BOOTING_LIMITS, *burst, (32.0, seen(running=1, answered=100))).change == -1, "all are reported"


def test_while_images_keep_coming_an_instance_stays_as_long_as_a_boot() -> None:
    # The second image, at 22 s, is answered so soon that no count ever shows it.
    steps = [(0.0, seen(visible=1, answered=0))]
    steps += [(float(now), seen(running=1, busy=1, answered=0)) for now in (20, 21)]
    steps += [(float(now), seen(running=1, answered=2)) for now in range(22, 60)]
    gone = next(now for end, (now, _) in enumerate(steps) if replay(BOOTING_LIMITS, *steps[: end + 1]).change < 0)
    assert 21 + 20 <= gone <= 22 + 20 + 3


def test_load_that_is_too_much_waits_for_a_backlog() -> None:
    lasting = steady(250, 1, 1, 9.8)
    none_waits = replay(BOOTING_LIMITS, *lasting)
    assert none_waits.change == 0 and none_waits.reason.endswith("would need 2; none is launched while none waits")
    one_waits = replay(BOOTING_LIMITS, *lasting, (250.0, seen(1, 0, 0, 1, 1, answered=2450)))
    assert one_waits.change == 1


def test_jobs_that_leave_the_queue_without_an_answer_hide_no_later_arrivals() -> None:
    purged = [(0.0, seen()), (1.0, seen(visible=10_000)), *[(float(now), seen(running=1)) for now in range(2, 150)]]
    assert replay(BOOTING_LIMITS, *purged[:90]).history[-1].arrived == 10_000
    assert replay(BOOTING_LIMITS, *purged).history[-1].arrived == 0
    later = [(150.0 + now, seen(1, 0, 0, 1, 1, answered=8 * now)) for now in range(100)]
    assert replay(BOOTING_LIMITS, *purged, *later).history[-1].loaded_at < math.inf


def test_only_what_is_at_work_by_its_last_heartbeat_is_worth_another_listing() -> None:
    burst = [(0.0, seen(visible=100)), (20.0, seen(in_flight=100, running=1, busy=1))]
    done = [(20.0 + now, seen(running=1, busy=1)) for now in range(1, 5)]
    assert replay(BOOTING_LIMITS, *burst, *done).awaits_idle
    assert not replay(BOOTING_LIMITS, *burst).awaits_idle
    assert not replay(BOOTING_LIMITS, *steady(150, 1, 1, 5.0)).awaits_idle, "there is load"


# A hundred images, answered by one worker within 30 s; the queue's last count, of 40, is from before.
OUTDATED = (
    (0.0, seen(visible=100)),
    (25.0, seen(30, 10, running=1, busy=1, answered=60)),
    (30.0, dataclasses.replace(seen(30, 10, running=1, answered=100), idle_since=26.0)),
)


def test_workers_that_found_the_queue_empty_end_before_its_count_shows_it() -> None:
    assert replay(BOOTING_LIMITS, *OUTDATED).change == -1
    late_count, empty = (30.0, seen(30, 10, running=1, answered=100)), OUTDATED[-1][1]
    assert replay(BOOTING_LIMITS, *OUTDATED[:2], late_count).change == 0, "the worker may be about to receive them"
    before = dataclasses.replace(empty, idle_since=24.0)
    assert replay(BOOTING_LIMITS, *OUTDATED[:2], (30.0, before)).change == 0, "the count is from after that"
    unanswered = dataclasses.replace(empty, answered=99)
    assert replay(BOOTING_LIMITS, *OUTDATED[:2], (30.0, unanswered)).change == 0, "a killed worker may have held one"


@pytest.mark.parametrize(
    ("after_seconds", "visible", "in_flight", "launched"),
    [
        pytest.param(1, 30, 10, 0, id="the same count is as outdated without a worker"),
        pytest.param(59, 30, 10, 0, id="for a minute, in which SQS corrects it"),
        pytest.param(60, 30, 10, 1, id="and then counts"),
        pytest.param(1, 31, 10, 1, id="one more waits"),
        pytest.param(1, 40, 0, 1, id="what was in flight waits again"),
        pytest.param(1, 0, 0, 0, id="it is empty, as was known"),
        pytest.param(1, 20, 5, 0, id="it falls, as late counts do"),
    ],
)
def test_an_outdated_count_launches_nothing_until_it_changes(
    after_seconds: int, visible: int, in_flight: int, launched: int
) -> None:
    ended = [(31.0 + second, seen(30, 10, answered=100)) for second in range(after_seconds - 1)]
    later = (30.0 + after_seconds, seen(visible, in_flight, answered=100))
    assert replay(BOOTING_LIMITS, *OUTDATED, *ended, later).change == launched


def test_steps_are_limited_both_ways() -> None:
    limits = dataclasses.replace(LIMITS, scale_out_step=3, scale_in_step=2, scale_in_stabilization_seconds=0)
    out = decide(seen(visible=10_000, running=1), limits, (), now=0)
    assert (out.desired_capacity, out.change) == (4, 3) and "3 at a time" in out.reason
    down = decide(seen(running=9), limits, (), now=0)
    assert (down.desired_capacity, down.change) == (7, -2) and "2 at a time" in down.reason


def test_stale_counts_are_met_with_hold() -> None:
    old = dataclasses.replace(seen(running=4), age_seconds=61.0)
    decision = decide(old, LIMITS, (), now=100, previous_desired=4)
    assert (decision.desired_capacity, decision.change, decision.history) == (4, 0, ())
    assert "61 s old" in decision.reason


def test_a_worker_counter_that_starts_anew_does_no_harm() -> None:
    steps = [(0.0, seen(running=2, answered=1000)), (1.0, seen(visible=5, running=2, answered=0))]
    assert replay(BOOTING_LIMITS, *steps).history[-1].done == 0


def test_a_minimum_for_readiness_is_kept_whatever_is_idle() -> None:
    ready = dataclasses.replace(BOOTING_LIMITS, min_size=2)
    assert replay(ready, *[(float(now), seen(running=5)) for now in range(0, 300, 10)]).desired_capacity == 2


counts = st.integers(0, 100_000)
sizes = st.integers(0, 40)
observations = st.builds(Observation, counts, counts, sizes, sizes)
limits = st.builds(
    lambda low, extra, **others: Limits(low, max(1, low + extra), **others),
    st.integers(0, 20),
    st.integers(0, 20),
    target_latency_seconds=st.floats(0.01, 1000),
    mean_service_seconds=st.floats(0.001, 100),
    scale_in_stabilization_seconds=st.floats(0, 600),
    expected_boot_seconds=st.floats(0, 300),
    boot_payback=st.floats(0, 20),
)
steps_of_time = st.floats(0.05, 120)
# Anything that may be seen, one after the other: counts that jump, workers that come and go, reports that are wrong.
stories = st.lists(
    st.tuples(
        steps_of_time,
        st.builds(
            Observation,
            counts,
            counts,
            sizes,
            sizes,
            sizes,
            st.just(0.0),
            st.integers(0, 1_000_000),
            st.floats(0, 1000),
        ),
    ),
    min_size=1,
    max_size=30,
)


def replayed(
    story: list[tuple[float, Observation]], bounds: Limits
) -> list[tuple[float, Observation, ScalingDecision]]:
    """Each observation of a story with its time and the decision about it."""
    now, decisions = 0.0, []
    history: tuple[Recommendation, ...] = ()
    for step, observation in story:
        now += step
        decision = decide(observation, bounds, history, now)
        history = decision.history
        decisions.append((now, observation, decision))
    return decisions


def after(decision: ScalingDecision, observation: Observation) -> Observation:
    """What is seen once the decision has been carried out."""
    return dataclasses.replace(observation, booting=0, running=decision.desired_capacity)


@given(stories, limits)
def test_always_within_limits(story: list[tuple[float, Observation]], bounds: Limits) -> None:
    for _, _, decision in replayed(story, bounds):
        assert bounds.min_size <= decision.desired_capacity <= bounds.max_size
        assert decision.reason


def claimed(reason: str, capacity: int) -> int:
    """The size that a reason argues for, clause by clause: what would be needed is not what is decided."""
    found = re.findall(r"(would )?needs? (\d+|none)|the minimum is (\d+)", reason)
    assert len(found) == 1, reason
    [(would, needed, minimum)] = found
    size = capacity if would else int((needed or minimum).replace("none", "0"))
    limits_named = re.findall(r"only (\d+) would work|the (\d+) there will have", reason)
    assert bool(would) == bool(limits_named or re.search("another would not work|none is launched", reason)), reason
    for number in (*limits_named, *re.findall(r"keeping (\d+)()", reason)):
        size = int("".join(number))
    if step := re.search(r"at most (\d+) at a time", reason):
        size = capacity + int(step[1]) * (1 if size > capacity else -1)
    return size


@given(stories, limits, st.integers(1, 50))
def test_the_reason_argues_for_what_is_decided(
    story: list[tuple[float, Observation]], bounds: Limits, step: int
) -> None:
    bounds = dataclasses.replace(bounds, scale_out_step=step, scale_in_step=step)
    for _, observation, decision in replayed(story, bounds):
        assert claimed(decision.reason, observation.capacity) == decision.desired_capacity, decision.reason
        if share := re.search(
            r"backlog (\d+) [^;]*\) at (\d+) for each instance (?:would need|needs) (\d+)(?![\d,])",
            decision.reason,
        ):
            backlog, each, size = (int(number) for number in share.groups())
            if each >= 10:  # otherwise its rounding shows
                assert backlog / (each + 0.5) - 1 <= size <= backlog / (each - 0.5) + 1.01, decision.reason


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (seen(), "no backlog needs none"),
        (seen(visible=3), "backlog 3 (3 waiting + 0 in flight) at 100 for each instance needs 1"),
        (
            seen(visible=3000, running=2),
            "backlog 3000 (3000 waiting + 0 in flight), of which 2600 will be left after a boot, at 100 for each "
            "instance would need 15, the maximum; only 3 would work long enough to pay for booting",
        ),
        (
            seen(visible=1500, running=2),
            "backlog 1500 (1500 waiting + 0 in flight) at 100 for each instance would need 15, the maximum; another "
            "would not work long enough to pay for booting",
        ),
        (
            seen(visible=300, running=2),
            "backlog 300 (300 waiting + 0 in flight) at 100 for each instance would need 3; the 2 there will have "
            "done enough of it before another boots",
        ),
    ],
)
def test_reasons(observation: Observation, reason: str) -> None:
    assert decide(observation, BOOTING_LIMITS, (), now=0).reason == reason


def test_without_a_backlog_the_reason_is_what_keeps_an_instance() -> None:
    steps = [(0.0, seen(visible=1, running=1, answered=0)), (1.0, seen(running=1, answered=1))]
    steps += [(5.0, seen(visible=1, running=1, answered=1)), (6.0, seen(running=1, answered=2))]
    assert replay(BOOTING_LIMITS, *steps).reason == ("no backlog; images that arrived within the time of a boot need 1")
    kept = dataclasses.replace(BOOTING_LIMITS, min_size=1)
    assert decide(seen(running=1), kept, (), now=0).reason == "no backlog; the minimum is 1"


@given(stories, limits, st.integers(1, 5), st.integers(1, 5))
def test_no_decision_goes_further_than_one_step(
    story: list[tuple[float, Observation]], bounds: Limits, out: int, down: int
) -> None:
    bounds = dataclasses.replace(bounds, scale_out_step=out, scale_in_step=down)
    for _, _, decision in replayed(story, bounds):
        assert -down <= decision.change <= out


@given(stories, limits)
def test_what_is_at_work_stays_unless_the_maximum_forbids_it(
    story: list[tuple[float, Observation]], bounds: Limits
) -> None:
    for _, observation, decision in replayed(story, bounds):
        if decision.change < 0:
            assert decision.desired_capacity >= min(observation.busy, bounds.max_size)


@given(stories, limits)
def test_any_job_has_an_instance(story: list[tuple[float, Observation]], bounds: Limits) -> None:
    for _, observation, decision in replayed(story, bounds):
        if observation.backlog:
            assert decision.desired_capacity >= 1


@given(observations, limits)
def test_desired_is_capacity_plus_change(observation: Observation, bounds: Limits) -> None:
    decision = decide(observation, bounds, (), now=0)
    assert decision.desired_capacity == observation.capacity + decision.change


@given(observations, counts, limits)
def test_more_backlog_never_means_fewer_instances(observation: Observation, more: int, bounds: Limits) -> None:
    larger = dataclasses.replace(observation, visible=observation.visible + more)
    desired = decide(observation, bounds, (), now=0).desired_capacity
    assert decide(larger, bounds, (), now=0).desired_capacity >= desired


@given(stories, counts, limits)
def test_nor_with_a_past(story: list[tuple[float, Observation]], more: int, bounds: Limits) -> None:
    *past, (now, observation, decision) = replayed(story, bounds)
    history = past[-1][2].history if past else ()
    larger = dataclasses.replace(observation, visible=observation.visible + more)
    assert decide(larger, bounds, history, now).desired_capacity >= decision.desired_capacity


@given(stories, limits)
def test_deciding_again_once_done_changes_nothing(story: list[tuple[float, Observation]], bounds: Limits) -> None:
    *_, (now, observation, first) = replayed(story, bounds)
    again = decide(after(first, observation), bounds, first.history, now)
    assert again.change == 0


@given(st.lists(counts, min_size=1, max_size=50), limits)
def test_within_the_window_the_fleet_never_shrinks(backlogs: list[int], bounds: Limits) -> None:
    history: tuple[Recommendation, ...] = ()
    capacity = 0
    step = bounds.scale_in_stabilization_seconds / (len(backlogs) + 1)
    for index, backlog in enumerate(backlogs):
        decision = decide(Observation(backlog, 0, 0, capacity), bounds, history, now=index * step)
        assert step == 0 or decision.desired_capacity >= capacity
        history, capacity = decision.history, decision.desired_capacity


@given(stories, limits)
def test_counts_that_swing_do_not_make_the_fleet_swing(story: list[tuple[float, Observation]], bounds: Limits) -> None:
    """No thrash: within a window there is at most one turn from growing to shrinking."""
    now, capacity, shrunk_at = 0.0, 0, -math.inf
    history: tuple[Recommendation, ...] = ()
    for step, observation in story:
        now += step
        seen_now = Observation(observation.visible, observation.in_flight, 0, capacity)
        decision = decide(seen_now, bounds, history, now)
        needed_alone = decide(dataclasses.replace(seen_now, running=0), bounds, (), now).desired_capacity
        if decision.change < 0:
            shrunk_at = now
        elif decision.change > 0 and now - shrunk_at < bounds.scale_in_stabilization_seconds:
            # It grows again so soon only because more is needed than has been kept.
            assert needed_alone > capacity or history[-1].arrived < decision.history[-1].arrived
        history, capacity = decision.history, decision.desired_capacity


@given(st.lists(st.tuples(st.floats(0.01, 2), counts), max_size=200), limits)
def test_history_stays_short(steps: list[tuple[float, int]], bounds: Limits) -> None:
    now = 0.0
    history: tuple[Recommendation, ...] = ()
    for step, backlog in steps:
        now += step
        history = decide(Observation(backlog, 0, 0, 0), bounds, history, now=now).history
        # Samples, and what still rules a window: of these each is smaller than the one before.
        assert len(history) <= 2 * SAMPLES + bounds.max_size + 3
    kept = max(LOAD_WINDOW_SECONDS, bounds.scale_in_stabilization_seconds, 20 * bounds.expected_boot_seconds)
    assert not history or all(past.at > now - kept - 2 for past in history[1:])
