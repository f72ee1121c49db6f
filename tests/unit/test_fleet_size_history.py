"""The fleet's size is sampled until the end, whatever one sample brings about."""

from __future__ import annotations

import threading

import pytest

from aws.in_memory import InMemoryFleet, ManualClock
from core.errors import CloudError
from local_cloud.fleet_size_history import FleetSizeHistory


class WatchedFleet(InMemoryFleet):
    """Signals when it has answered twice."""

    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.answers = 0
        self.answered_twice = threading.Event()

    def describe(self):  # type: ignore[no-untyped-def]
        found = super().describe()
        self.answers += 1
        if self.answers == 2:
            self.answered_twice.set()
        return found


@pytest.mark.parametrize("error", [CloudError("away"), RuntimeError("a fault")])
def test_a_sample_that_fails_is_followed_by_others(error: Exception) -> None:
    fleet = WatchedFleet()
    fleet.add()
    fleet.fail_next("describe", error=error)
    with FleetSizeHistory(fleet, interval_seconds=0.001) as history:  # type: ignore[arg-type]
        assert fleet.answered_twice.wait(10)
    assert (history.size, history.peak, len(history.changes)) == (1, 1, 1)
