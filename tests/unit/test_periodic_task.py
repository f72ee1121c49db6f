"""A periodic task outlives every exception of its rounds, and its health says how it fares."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from aws.in_memory import ManualClock
from core import periodic_task
from core.errors import CloudError, ElasticError
from core.periodic_task import (
    LEAST_STALE_SECONDS,
    MAX_CLOUD_FAILURES_IN_A_ROW,
    MAX_ERROR_CHARACTERS,
    STALE_INTERVALS,
    ItemGuard,
    PeriodicTask,
    RoundError,
    TaskHealth,
    is_stale,
    seconds_without_success,
)


class StopAfter:
    """A stop signal that lets a number of pauses pass, each in no time."""

    def __init__(self, pauses: int, clock: ManualClock) -> None:
        self.pauses: list[float] = []
        self._left = pauses
        self._clock = clock

    def is_set(self) -> bool:
        return self._left < 0

    def wait(self, timeout: float) -> bool:
        self._left -= 1
        self.pauses.append(timeout)
        self._clock.advance(timeout)
        return self.is_set()


class Bench:
    def __init__(self, *outcomes: Exception | None, seconds: float = 30.0, at_once: bool = False) -> None:
        self.clock = ManualClock(1000.0)
        self.outcomes = list(outcomes)
        self.rounds_at: list[float] = []
        self.task = PeriodicTask("sweep", seconds, self.round, at_once=at_once, clock=self.clock)

    def round(self) -> None:
        self.rounds_at.append(self.clock())
        if self.outcomes and (error := self.outcomes.pop(0)) is not None:
            raise error

    def run(self, pauses: int) -> TaskHealth:
        self.task.run(StopAfter(pauses, self.clock))
        return self.task.health


def test_it_runs_a_round_after_each_pause_until_it_is_stopped() -> None:
    bench = Bench()
    stop = StopAfter(3, bench.clock)
    bench.task.run(stop)
    assert bench.rounds_at == [1030.0, 1060.0, 1090.0] and stop.pauses == [30.0] * 4


def test_the_first_round_may_come_at_once() -> None:
    bench = Bench(at_once=True)
    bench.run(1)
    assert bench.rounds_at == [1000.0, 1030.0]
    stopped = Bench(at_once=True)
    stopped.run(-1)
    assert stopped.rounds_at == []


@pytest.mark.parametrize("error", [RuntimeError("a fault"), CloudError("S3 is away"), RecursionError(), MemoryError()])
def test_any_exception_is_counted_and_survived(error: Exception) -> None:
    bench = Bench(error, error)
    health = bench.run(3)
    assert len(bench.rounds_at) == 3
    assert (health.rounds, health.failures, health.last_success_at) == (3, 2, 1090.0)


def test_what_ends_the_process_is_not_survived() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        PeriodicTask("sweep", 1.0, leave).run_round()


def test_an_unexpected_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Bench(RuntimeError("a fault"), CloudError("S3 is away")).run(2)
    unexpected, expected = (record for record in caplog.records if record.name == periodic_task.log.name)
    assert unexpected.levelno == logging.ERROR and unexpected.exc_info is not None
    assert "sweep" in unexpected.getMessage() and "RuntimeError: a fault" in caplog.text
    assert expected.getMessage() == "sweep: S3 is away" and expected.exc_info is None


@pytest.mark.parametrize(
    ("error", "published"),
    [
        (CloudError("S3 is away"), "S3 is away"),
        (RuntimeError("secret"), "unexpected RuntimeError"),
        (ElasticError("lone \ud800 surrogate"), "lone ? surrogate"),
        (ElasticError("x" * 5000), "x" * MAX_ERROR_CHARACTERS),
    ],
)
def test_the_published_error_is_short_and_holds_nothing_unexpected(error: Exception, published: str) -> None:
    assert Bench(error).run(1).last_error == published


def test_a_thread_runs_it_and_ends_with_the_stop() -> None:
    ran, stop = threading.Event(), threading.Event()
    thread = PeriodicTask("sweep", 0.0, ran.set).start(stop)
    assert ran.wait(10) and thread.daemon and thread.name == "sweep"
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("seconds", "last_success_at", "now", "stale"),
    [
        (60.0, 2000.0, 2000.0 + 60 * STALE_INTERVALS, False),
        (60.0, 2000.0, 2001.0 + 60 * STALE_INTERVALS, True),
        (60.0, None, 1000.0 + 60 * STALE_INTERVALS, False),
        (60.0, None, 1001.0 + 60 * STALE_INTERVALS, True),
        (0.1, 2000.0, 2000.0 + LEAST_STALE_SECONDS, False),
        (0.1, 2000.0, 2001.0 + LEAST_STALE_SECONDS, True),
    ],
)
def test_a_task_is_stale_after_several_intervals_without_success(
    seconds: float, last_success_at: float | None, now: float, stale: bool
) -> None:
    health = TaskHealth("sweep", seconds, 1000.0, last_success_at)
    assert is_stale(health, now) is stale
    assert seconds_without_success(health, now) == now - (last_success_at or 1000.0)


# --- items ---------------------------------------------------------------------------------------


def guarded(handle: Callable[[int], None], count: int) -> None:
    guard = ItemGuard()
    for number in range(count):
        with guard.item(f"item {number}"):
            handle(number)
    guard.raise_failures()


def test_one_item_that_fails_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    handled = []

    def handle(number: int) -> None:
        if number in (1, 2):
            raise RuntimeError("poison") if number == 1 else CloudError("away")
        handled.append(number)

    with pytest.raises(RoundError, match=r"^2 of 4 failed; the first: item 1: unexpected RuntimeError$"):
        guarded(handle, 4)
    assert handled == [0, 3]
    assert "RuntimeError: poison" in caplog.text and "item 2: away" in caplog.text


def test_a_cloud_that_is_away_ends_the_round_instead_of_failing_each_item() -> None:
    tried = []

    def handle(number: int) -> None:
        tried.append(number)
        raise CloudError("S3 is away")

    with pytest.raises(CloudError):
        guarded(handle, 100)
    assert len(tried) == MAX_CLOUD_FAILURES_IN_A_ROW


def test_failures_of_the_cloud_between_successes_end_nothing() -> None:
    handled = []

    def handle(number: int) -> None:
        if number % 2:
            raise CloudError("a moment")
        handled.append(number)

    with pytest.raises(RoundError, match=r"^20 of 40 failed"):
        guarded(handle, 40)
    assert len(handled) == 20
