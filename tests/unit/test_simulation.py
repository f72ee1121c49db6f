"""The simulated cloud: no image is lost or answered twice, and the cost is the instances' run time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scaling.policy import Limits
from simulation.assumptions import BOOT_MEAN_SECONDS, Disturbances
from simulation.pool import Pool
from simulation.scalers import Keda, Ours, Scaler, TargetTracking, View, VisibleOnly
from simulation.world import World
from tests.properties import examples

CALM = Disturbances(random=False, lag=False, errors=False)
BALANCED = Limits(0, 15, 2.0, 0.03, 2.0, expected_boot_seconds=30.0, boot_payback=5.0)

times = st.lists(st.floats(0, 300), min_size=1, max_size=60).map(lambda found: np.sort(np.array(found)))


def service(arrivals: np.ndarray, seconds: float = 0.03) -> np.ndarray:
    return np.full(len(arrivals), seconds)


def view(visible: int = 0, in_flight: int = 0, booting: int = 0, running: int = 0) -> View:
    return View(visible, in_flight, booting, running, busy=0, answered=0, boot_seconds=None)


def every_scaler() -> list[Scaler]:
    return [Ours("balanced", BALANCED, 1.0, 30), VisibleOnly(15), TargetTracking(15, 0.03, 30), Keda(15, 30)]


# --- the pool ------------------------------------------------------------------------------------


def naive_completions(arrivals: np.ndarray, seconds: np.ndarray, instances: int) -> list[float]:
    """One server as fast as all, image by image."""
    free, completed = 0.0, []
    for at, work in zip(arrivals, seconds, strict=True):
        free = max(free, at) + work / instances
        completed.append(free)
    return completed


@given(times, st.integers(1, 5), st.lists(st.floats(0.01, 40), min_size=1, max_size=20), st.integers(0, 10**6))
def test_the_pool_does_what_image_by_image_arithmetic_does(
    arrivals: np.ndarray, instances: int, steps: list[float], seed: int
) -> None:
    seconds = np.random.default_rng(seed).uniform(0.1, 5.0, len(arrivals))
    pool, now = Pool(arrivals, seconds), 0.0
    for step in [*steps, 2000.0]:  # wherever time is cut
        now += step
        pool.advance(now, instances)
        assert pool.answered + pool.backlog() == pool.arrived(now)
    alone = seconds * (1 - 1 / instances)
    expected = np.array(naive_completions(arrivals, seconds, instances)) - arrivals + alone
    np.testing.assert_allclose(pool.waits, expected, rtol=1e-5, atol=1e-4)
    assert pool.busy_seconds == pytest.approx(seconds.sum())


def test_what_a_killed_instance_held_starts_anew() -> None:
    pool = Pool(np.zeros(3), np.full(3, 10.0))
    pool.advance(15.0, 1)
    lost = pool.lose(1)
    assert (lost, pool.answered, pool.lost, pool.backlog()) == ([1], 1, 1, 1)
    pool.advance(25.0, 1)
    assert not np.isnan(pool.waits[2]) and np.isnan(pool.waits[1])
    pool.give_back(lost)
    pool.advance(35.0, 1)
    assert pool.waits.tolist() == [10.0, 35.0, 25.0]


def test_no_instances_do_nothing() -> None:
    pool = Pool(np.zeros(2), np.ones(2))
    pool.advance(100.0, 0)
    assert (pool.answered, pool.busy_seconds, pool.backlog()) == (0, 0.0, 2)


# --- the world -----------------------------------------------------------------------------------


@settings(max_examples=examples(0.2))
@given(times, st.sampled_from(range(4)), st.booleans(), st.integers(0, 1000))
def test_every_image_is_answered_once_and_what_is_billed_covers_the_work(
    arrivals: np.ndarray, which: int, calm: bool, seed: int
) -> None:
    scaler = every_scaler()[which]
    outcome = World(scaler, arrivals, service(arrivals), seed, CALM if calm and scaler.drains else Disturbances()).run()
    assert not np.isnan(outcome.waits).any() and (outcome.waits >= 0.03 - 1e-6).all()
    assert outcome.instance_seconds >= len(arrivals) * 0.03
    assert outcome.launches >= outcome.peak >= 1
    assert outcome.busy_killed == 0 or not scaler.drains


def test_in_calm_disturbances_a_burst_can_be_reckoned_by_hand() -> None:
    arrivals = np.zeros(100)
    outcome = World(Ours("balanced", BALANCED, 1.0, 30), arrivals, service(arrivals), 0, CALM, timeline=True).run()
    # Ordered at once, booted after 26 s, done 3 s later; a worker looks every 5 s whether it has become idle.
    assert outcome.waits.max() == pytest.approx(BOOT_MEAN_SECONDS + 3.0)
    assert (outcome.launches, outcome.peak, outcome.thrash) == (1, 1, 0)
    assert BOOT_MEAN_SECONDS + 3.0 <= outcome.instance_seconds <= BOOT_MEAN_SECONDS + 3.0 + 5.0 + 2.0 + 2.0
    assert outcome.drain_seconds == pytest.approx(BOOT_MEAN_SECONDS + 3.0)
    billed = sum(size * (after - at) for (at, _, size), (after, _, _) in itertools.pairwise(outcome.timeline))
    assert outcome.instance_seconds == pytest.approx(billed, abs=0.1)


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    arrivals = np.linspace(0, 60, 500)

    def cost(seed: int) -> float:
        return World(Ours("balanced", BALANCED, 1.0, 30), arrivals, service(arrivals), seed).run().instance_seconds

    assert cost(3) == cost(3) != cost(4)


def test_who_looks_at_the_visible_count_alone_kills_instances_at_work() -> None:
    arrivals = np.linspace(0, 60, 200)
    naive = World(VisibleOnly(15), arrivals, service(arrivals, 1.0), 0).run()
    assert naive.busy_killed > 0
    ours = World(Ours("balanced", BALANCED, 1.0, 30), arrivals, service(arrivals, 1.0), 0).run()
    assert ours.busy_killed == 0


def test_and_where_counts_are_prompt_never_finishes() -> None:
    """A message received is no longer visible: its instance goes before it has worked, again and again."""
    with pytest.raises(RuntimeError, match="visible-only does not come to an end"):
        World(VisibleOnly(15), np.zeros(1), np.full(1, 20.0), 0, CALM).run()


def test_a_floor_stays_until_the_end() -> None:
    arrivals = np.array([0.0, 200.0])
    ready = Limits(2, 15, 2.0, 0.03, 2.0, expected_boot_seconds=26.0, boot_payback=5.0)
    outcome = World(Ours("ready", ready, 1.0, 30), arrivals, service(arrivals), 0, CALM, min_size=2).run()
    assert outcome.waits[1] == pytest.approx(0.03, abs=0.001)
    assert outcome.instance_seconds == pytest.approx(2 * 201, abs=3)


def test_one_who_never_ends_is_an_error() -> None:
    class Stuck(VisibleOnly):
        def change(self, view: View, now: float) -> int:
            return 0

    with pytest.raises(RuntimeError, match="does not come to an end"):
        World(Stuck(1), np.zeros(1), np.ones(1), 0, CALM).run()


# --- the formulas of the others ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "change"),
    [
        (view(visible=7), 7),
        (view(visible=100), 15),
        (view(visible=3, running=15), -12),
        (view(in_flight=9, running=9), -9),
    ],
)
def test_visible_only(seen: View, change: int) -> None:
    assert VisibleOnly(15).change(seen, 0.0) == change


@pytest.mark.parametrize(
    ("views", "change"),
    [
        pytest.param([view(visible=5000)], 1, id="from 0 to 1 by the second alarm"),
        pytest.param([view(visible=2000, running=1)] * 2, 0, id="two minutes above are not enough"),
        pytest.param([view(visible=2000, running=1)] * 3, 3, id="three are: 2000 / (10 s / 0.02 s) = 4, one is there"),
        pytest.param([view(visible=2000, running=1), view(running=1), view(visible=2000, running=1)], 0, id="in a row"),
        pytest.param([view(visible=100, running=4)] * 14, 0, id="14 minutes below are not enough"),
        pytest.param([view(visible=100, running=4)] * 15, -3, id="15 are"),
        pytest.param([view(in_flight=3, running=4)] * 15, -3, id="in flight: the last one stays"),
        pytest.param([view(running=4)] * 15, -4, id="nothing left: none stays"),
        pytest.param([view(visible=480, running=1)] * 15, 0, id="within a tenth of the target nothing moves"),
    ],
)
def test_target_tracking(views: list[View], change: int) -> None:
    scaler = TargetTracking(15, 0.02, 30)
    changes = [scaler.change(seen, 60.0 * minute) for minute, seen in enumerate(views)]
    assert changes[-1] == change and not any(changes[:-1])


@pytest.mark.parametrize(
    ("views", "change"),
    [
        pytest.param([view(visible=1000)], 1, id="from 0 to 1 at a poll"),
        pytest.param([view(running=1), view(visible=1000)], 0, id="but only every 30 s"),
        pytest.param([view(visible=1000, running=1)], 4, id="at most four more, or twice as many, in 15 s"),
        pytest.param([view(visible=1000, running=6)], 6, id="twice as many"),
        pytest.param([view(visible=30, in_flight=20, running=5)], 5, id="five messages for each, in flight or not"),
        pytest.param([view(visible=27, running=5)], 0, id="within the tolerance of a tenth"),
        pytest.param(
            [view(visible=50, running=10)] + [view(visible=1, running=10)] * 19, 0, id="for 300 s no scale-in"
        ),
        pytest.param([view(visible=50, running=10)] + [view(visible=1, running=10)] * 20, -9, id="then to one"),
        pytest.param([view(visible=1, running=1)] + [view(running=1)] * 19, 0, id="the last one stays for 300 s"),
        pytest.param([view(visible=1, running=1)] + [view(running=1)] * 20, -1, id="then it goes"),
    ],
)
def test_keda(views: list[View], change: int) -> None:
    scaler = Keda(15, 30)
    assert [scaler.change(seen, 15.0 * step) for step, seen in enumerate(views)][-1] == change
