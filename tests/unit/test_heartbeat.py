"""A worker's heartbeat reports how it fares, and never stops the work."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from app_tier.heartbeat import HeartbeatReporter
from app_tier.statistics import Vitals
from aws.in_memory import ManualClock
from core.errors import CloudError
from core.heartbeat import Heartbeat


class Bench:
    def __init__(self) -> None:
        self.clock, self.wall = ManualClock(0.0), ManualClock(5000.0)
        self.vitals = Vitals(0, 0, 0, 0.0, None)
        self.beats: list[Heartbeat] = []
        self.failing = False
        self.idle_seconds = 0.0
        self.reporter = HeartbeatReporter(
            self.put, lambda: self.vitals, lambda: self.idle_seconds, "m@1", self.clock, self.wall
        )

    def put(self, body: bytes) -> None:
        if self.failing:
            raise CloudError("S3 is away")
        self.beats.append(Heartbeat.decode(body))


def test_rates_are_over_the_time_since_the_last_beat() -> None:
    bench = Bench()
    bench.reporter.beat()
    bench.clock.advance(10)
    bench.wall.advance(10)
    bench.vitals = Vitals(3, 50, 2, 5.0, 1.25)
    bench.reporter.beat()
    bench.clock.advance(10)
    bench.vitals = Vitals(0, 60, 2, 6.0, None)
    bench.reporter.beat(leaving=True)
    first, second, last = bench.beats
    assert (first.answered, first.mean_service_seconds, first.started_at) == (0, None, 5000.0)
    assert second == Heartbeat(5010.0, 5000.0, "m@1", 3, 50, 2, 5.0, 0.1, 1.25)
    assert (last.images_per_second, last.mean_service_seconds, last.leaving) == (1.0, 0.1, True)


@pytest.mark.parametrize(
    ("seconds", "idle_before", "idle", "due"),
    [
        (1, 3.0, 4.0, False),
        (1, 0.0, 0.0, False),
        (1, 3.0, 0.0, True),  # it has become busy
        (1, 0.0, 0.2, True),  # it has become idle
        (1, 0.2, 0.9, False),
        (1, 0.2, 1.2, True),  # it has found the queue empty
        (15, 0.0, 0.0, True),
    ],
)
def test_a_beat_is_due_in_time_or_when_the_worker_turns_idle_or_busy(
    seconds: float, idle_before: float, idle: float, due: bool
) -> None:
    bench = Bench()
    bench.idle_seconds = idle_before
    bench.reporter.beat()
    bench.clock.advance(seconds)
    bench.idle_seconds = idle
    bench.reporter.beat_if_due(15)
    assert [beat.idle_seconds for beat in bench.beats] == [idle_before, *([idle] if due else [])]


def test_early_beats_are_three_at_once_and_then_one_in_a_third_of_the_interval() -> None:
    bench = Bench()
    bench.reporter.beat()
    early = []
    for second in range(1, 13):
        bench.clock.advance(1)
        bench.idle_seconds = second % 2 * 0.5  # idle and busy by turns
        before = len(bench.beats)
        bench.reporter.beat_if_due(15)
        early.append(len(bench.beats) - before)
    assert early == [1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_a_beat_that_cannot_be_put_is_lost_and_the_next_reports_the_sum() -> None:
    bench = Bench()
    bench.failing = True
    bench.vitals = Vitals(0, 5, 0, 1.0, None)
    with pytest.raises(CloudError):
        bench.reporter.beat()
    bench.failing = False
    bench.clock.advance(1)
    bench.reporter.beat()
    assert bench.beats[-1].answered == 5


def test_it_beats_from_the_start_to_the_end() -> None:
    beats: list[Heartbeat] = []
    three = threading.Event()

    def put(body: bytes) -> None:
        beats.append(Heartbeat.decode(body))
        if len(beats) == 3:
            three.set()

    reporter = HeartbeatReporter(put, lambda: Vitals(0, 0, 0, 0.0, None), lambda: 0.0, "m@1")
    with reporter.beating(0.03):
        assert three.wait(10)
    ended_with = len(beats)
    time.sleep(0.1)
    assert len(beats) == ended_with
    assert [beat.leaving for beat in beats] == [False] * (ended_with - 1) + [True]


def test_the_first_beat_is_due_at_once_and_is_not_repeated_at_once_where_it_fails() -> None:
    bench = Bench()
    bench.failing = True
    with pytest.raises(CloudError):
        bench.reporter.beat_if_due(15)
    bench.failing = False
    bench.reporter.beat_if_due(15)
    assert not bench.beats
    bench.clock.advance(15)
    bench.reporter.beat_if_due(15)
    assert len(bench.beats) == 1


def test_an_unexpected_exception_ends_neither_the_beats_nor_the_worker() -> None:
    beats: list[Heartbeat] = []
    calls, second = [], threading.Event()

    def put(body: bytes) -> None:
        calls.append(body)
        if len(calls) == 1:
            raise RuntimeError("a fault")
        beats.append(Heartbeat.decode(body))
        second.set()

    idle = itertools.cycle((0.5, 0.0))  # a beat is due at every look
    reporter = HeartbeatReporter(put, lambda: Vitals(0, 0, 0, 0.0, None), lambda: next(idle), "m@1")
    with reporter.beating(0.03):
        assert second.wait(10)
    assert beats[-1].leaving


def test_a_last_beat_that_fails_unexpectedly_does_not_change_how_the_worker_ends() -> None:
    def put(body: bytes) -> None:
        raise RuntimeError("a fault")

    reporter = HeartbeatReporter(put, lambda: Vitals(0, 0, 0, 0.0, None), lambda: 0.0, "m@1")
    with reporter.beating(60):
        pass
