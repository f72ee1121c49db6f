"""The pace of housekeeping: slower while nothing is under way, never while something is pending or unknown."""

from __future__ import annotations

import pytest

from aws.in_memory import ManualClock
from controller.housekeeping.pace import QUIET_AFTER_SECONDS, QUIET_FACTOR, Pace

INTERVAL_SECONDS = 15.0


class Bench:
    def __init__(self, *, pending: bool = False) -> None:
        self.clock = ManualClock(0.0)
        self.pace = Pace(INTERVAL_SECONDS, self.clock)
        self.pending = pending
        self.rounds = 0
        self._run = self.pace.paced(self._round)

    def _round(self) -> bool:
        self.rounds += 1
        return self.pending

    def run(self, rounds: int, *, quiet: bool | None = True) -> int:
        """Runs the task so often; `quiet` is what the control loop notes each second, None: it has stopped."""
        before = self.rounds
        for _ in range(rounds):
            for _second in range(int(INTERVAL_SECONDS)):
                self.clock.advance(1)
                if quiet is not None:
                    self.pace.note(quiet)
            self._run()
        return self.rounds - before


@pytest.mark.parametrize(("quiet", "pending"), [(False, False), (True, True), (None, False)], ids=str)
def test_each_round_runs_while_something_is_under_way_pending_or_unknown(quiet: bool | None, pending: bool) -> None:
    assert Bench(pending=pending).run(100, quiet=quiet) == 100


def test_a_tenth_of_the_rounds_runs_while_nothing_is_under_way() -> None:
    bench = Bench()
    bench.run(int(QUIET_AFTER_SECONDS / INTERVAL_SECONDS))
    assert bench.run(10 * QUIET_FACTOR) == 10
    assert bench.run(3, quiet=False) == 3, "at once when something is"
    assert bench.run(int(QUIET_AFTER_SECONDS / INTERVAL_SECONDS) - 1) >= 3, "and until its results are complete"


def test_a_round_that_fails_keeps_its_pace() -> None:
    bench = Bench()
    calls = []

    def fail() -> None:
        calls.append(bench.clock())
        raise ValueError("a fault")

    run = bench.pace.paced(fail)
    bench.run(10)
    for _ in range(3):
        bench.run(1)
        with pytest.raises(ValueError, match="a fault"):
            run()
    assert len(calls) == 3
