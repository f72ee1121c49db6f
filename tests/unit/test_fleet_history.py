"""What the controller remembers: bounded, honest about gaps, and going on after a change of controllers."""

from __future__ import annotations

import itertools

from aws.queue import Backlog
from controller.scaling.observer import FleetSnapshot
from controller.status.fleet_history import MAX_STEP_SECONDS, FleetHistory
from core.fleet_status import HISTORY_SECONDS, MAX_SAMPLES, Sample


def sample(at: float, running: int = 0, visible: int = 0) -> Sample:
    return Sample(at, visible, 0, running, 0, running, 0.0)


def snapshot(unseen: int, answered: int = 0) -> FleetSnapshot:
    return FleetSnapshot(Backlog(0, 0), (), unseen, answered)


def test_the_history_is_bounded_and_spread_over_its_time() -> None:
    fleet_history = FleetHistory(0.0)
    for second in range(0, 4000, 2):
        fleet_history.sample(sample(second))
    times = [kept.at for kept in fleet_history.samples]
    assert len(times) <= MAX_SAMPLES
    assert times[-1] == 3998 and times[0] >= 3998 - HISTORY_SECONDS
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(gaps) <= 4 * HISTORY_SECONDS / MAX_SAMPLES


def test_samples_close_together_are_one_unless_the_fleet_changed() -> None:
    fleet_history = FleetHistory(0.0)
    for at, running, visible in ((0.0, 0, 5), (0.4, 0, 4), (0.8, 1, 3), (1.2, 1, 2), (2.2, 1, 1)):
        fleet_history.sample(sample(at, running, visible))
    assert [(kept.at, kept.visible) for kept in fleet_history.samples] == [(0.0, 4), (0.8, 2), (2.2, 1)]


def test_instance_seconds_add_up_and_a_gap_counts_for_no_more_than_is_known() -> None:
    fleet_history = FleetHistory(0.0)
    fleet_history.count(snapshot(3), 100.0)
    fleet_history.count(snapshot(3), 110.0)
    assert fleet_history.instance_seconds == 30
    fleet_history.count(snapshot(1), 110.0 + 10 * MAX_STEP_SECONDS)
    assert fleet_history.instance_seconds == 30 + MAX_STEP_SECONDS


def test_costs_follow_from_time_and_answers() -> None:
    fleet_history = FleetHistory(0.0)
    assert fleet_history.cost_per_1000_images_usd(0.02) is None
    fleet_history.count(snapshot(2), 0.0)
    fleet_history.count(snapshot(60, answered=500), 30.0)
    assert fleet_history.cost_per_1000_images_usd(0.02) == 1800 / 3600 * 0.02 / 500 * 1000
