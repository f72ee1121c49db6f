"""The optimum is a lower bound: of the best schedule that trying all of them finds, and of every run."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.scaling.policy import Limits
from simulation.assumptions import BOOT_MEAN_SECONDS, Disturbances
from simulation.optimum import LATE_SHARE, Problem, optimum, work_bound
from simulation.pool import Pool
from simulation.scalers import Keda, Ours, TargetTracking
from simulation.world import World
from tests.properties import examples

CALM = Disturbances(random=False, lag=False, errors=False)


def run_schedule(arrivals: np.ndarray, service: float, sizes: tuple[int, ...], slot: float) -> np.ndarray:
    """The waits with so many instances in each slot of time; infinite where an image stays unanswered."""
    pool = Pool(arrivals, np.full(len(arrivals), service))
    for index, size in enumerate(sizes):
        pool.advance((index + 1) * slot, size)
    # What one instance needs longer than the whole pool is no matter of the schedule's.
    waits: np.ndarray = np.nan_to_num(pool.waits.astype(float), nan=math.inf)
    return waits


def brute_force(problem: Problem, slot: float, slots: int) -> float:
    """The cheapest of all schedules whose sizes change at multiples of `slot` only; infinite where none will do."""

    def cost(sizes: tuple[int, ...]) -> float:
        launches = sum(max(0, now - before) for before, now in itertools.pairwise((0, *sizes)))
        return sum(sizes) * slot + launches * problem.boot_seconds

    for sizes in sorted(itertools.product(range(problem.max_size + 1), repeat=slots), key=cost):
        if sum(sizes) * slot < len(problem.arrivals) * problem.service_seconds:
            continue
        waits = run_schedule(problem.arrivals, problem.service_seconds, sizes, slot)
        late = int((waits > problem.p95_wait_seconds + 1e-4).sum())
        if late <= math.floor(LATE_SHARE * len(waits)) and waits.max() <= problem.max_wait_seconds + 1e-4:
            return cost(sizes)
    return math.inf


# Whatever happens, happens at whole slots of two seconds: so that the best of all schedules is among those tried.
clusters = st.lists(st.tuples(st.sampled_from([0.0, 2.0, 4.0, 8.0, 12.0]), st.integers(1, 12)), min_size=1, max_size=4)


@settings(max_examples=examples(0.3), derandomize=True)
@given(clusters, st.sampled_from([2.0, 6.0]), st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([0.0, 2.0, 6.0]))
def test_no_schedule_is_cheaper(found: list[tuple[float, int]], boot: float, wait: float, more: float) -> None:
    arrivals = np.sort(np.repeat([at for at, _ in found], [count for _, count in found]))
    problem = Problem(arrivals, 0.2, boot, wait, wait + more, 1)
    cheapest = brute_force(problem, 2.0, 9)
    assume(cheapest < math.inf)
    assert optimum(problem) <= cheapest + 1e-6
    assert work_bound(problem) <= cheapest + 1e-6


@settings(max_examples=examples(0.06), derandomize=True)
@given(clusters, st.sampled_from([4.0, 8.0]))
def test_nor_with_two_instances(found: list[tuple[float, int]], boot: float) -> None:
    arrivals = np.sort(np.repeat([at for at, _ in found], [count for _, count in found]))
    problem = Problem(arrivals, 0.4, boot, 2.0, 4.0, 2)
    cheapest = brute_force(problem, 2.0, 7)
    assume(cheapest < math.inf)
    assert optimum(problem) <= cheapest + 1e-6


@pytest.mark.parametrize(
    ("problem", "cost"),
    [
        pytest.param(Problem(np.zeros(100), 0.03, 26.0, 29.0, 29.0, 15), 29.0, id="a burst, and time enough for one"),
        pytest.param(Problem(np.zeros(100), 0.03, 26.0, 1.6, 1.6, 15), 55.0, id="half the time: two"),
        pytest.param(Problem(np.zeros(1000), 0.03, 26.0, 30.0, 30.0, 15), 56.0, id="30 s of work"),
        pytest.param(
            Problem(np.array([0.0, 100.0]), 1.0, 26.0, 2.0, 2.0, 15), 54.0, id="far apart: booted twice, not kept"
        ),
        pytest.param(
            Problem(np.array([0.0, 10.0]), 1.0, 26.0, 2.0, 2.0, 15), 26.0 + 10.0, id="close: kept (its wait bridged)"
        ),
        pytest.param(
            Problem(np.array([0.0] * 20 + [4.0] + [8.0] * 19), 0.05, 4.0, 2.0, 6.0, 1),
            2 * (4.0 + 1.0),
            id="one in 40 may be late: it waits for the others, and nothing runs in between",
        ),
        pytest.param(
            Problem(np.array([0.0] * 20 + [4.0] + [8.0] * 19), 0.05, 4.0, 2.0, 2.0, 1),
            4.0 + 7.95,
            id="none may: it is cheaper to keep the instance from 1 s on",
        ),
    ],
)
def test_the_bound_is_close_where_the_answer_is_known(problem: Problem, cost: float) -> None:
    assert 0.9 * cost <= optimum(problem) <= cost + 1e-6


def test_more_patience_never_costs_more() -> None:
    arrivals = np.sort(np.random.default_rng(1).uniform(0, 60, 300))
    costs = [optimum(Problem(arrivals, 0.1, 20.0, wait, wait + 5, 10)) for wait in (1.0, 5.0, 20.0, 60.0)]
    assert costs == sorted(costs, reverse=True)


@settings(max_examples=examples(0.1))
@given(st.lists(st.floats(0, 600), min_size=1, max_size=80), st.sampled_from(range(3)))
def test_no_run_is_cheaper(found: list[float], which: int) -> None:
    arrivals = np.sort(np.array(found))
    limits = Limits(0, 15, 2.0, 0.03, 2.0, expected_boot_seconds=BOOT_MEAN_SECONDS, boot_payback=5.0)
    scaler = (Ours("balanced", limits, 1.0, 30), TargetTracking(15, 0.03, 30), Keda(15, 30))[which]
    outcome = World(scaler, arrivals, np.full(len(arrivals), 0.03), 0, CALM).run()
    p95 = float(np.percentile(outcome.waits, 95, method="higher"))
    bound = optimum(Problem(arrivals, 0.03, BOOT_MEAN_SECONDS, p95, float(outcome.waits.max()), 15))
    assert bound <= outcome.instance_seconds + 1e-6
