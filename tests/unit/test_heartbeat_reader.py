"""Heartbeats: one listing for all, bodies only where they changed, and nothing left behind."""

from __future__ import annotations

import pytest

from aws.in_memory import InMemoryStateStore, ManualClock
from controller.scaling.heartbeat_reader import MAX_FETCHES, QUIET_FACTOR, HeartbeatReader
from core.errors import CloudError, DecodeError
from core.heartbeat import Heartbeat, instance_of, key_of

INTERVAL_SECONDS, FORGET_SECONDS = 5.0, 60.0


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(0.0)
        self.store = InMemoryStateStore(self.clock)
        self.reports = self.new()

    def new(self, *, keep: bool = False) -> HeartbeatReader:
        return HeartbeatReader(self.store, INTERVAL_SECONDS, FORGET_SECONDS, self.clock, keep=keep)

    def beat(self, instance_id: str, answered: int = 0, started_at: float = 1.0, leaving: bool = False) -> None:
        heartbeat = Heartbeat(self.clock(), started_at, answered=answered, leaving=leaving)
        self.store.put(key_of(instance_id), heartbeat.encode())

    def refresh(self, *present: str, eager: bool = True) -> None:
        self.clock.advance(1)
        self.reports.refresh(present, eager=eager)


def test_bodies_are_fetched_only_when_they_have_changed() -> None:
    bench = Bench()
    bench.beat("i-1")
    bench.refresh("i-1")
    bench.refresh("i-1")
    assert (bench.store.count("list"), bench.store.count("get")) == (2, 1)
    bench.beat("i-1", answered=5)
    bench.refresh("i-1")
    assert bench.store.count("get") == 2
    heartbeat = bench.reports.latest["i-1"].heartbeat
    assert heartbeat is not None and heartbeat.answered == 5


def test_nothing_is_listed_before_its_time_where_no_heartbeat_is_due() -> None:
    bench = Bench()
    for _ in range(10):
        bench.refresh("i-1", eager=False)
    assert bench.store.count("list") == 2


def test_an_empty_fleet_without_heartbeats_costs_a_tenth_of_the_listings_and_the_first_instance_one_at_once() -> None:
    bench = Bench()
    for _ in range(10 * QUIET_FACTOR):
        bench.refresh(eager=False)
    assert bench.store.count("list") == 2
    bench.clock.advance(INTERVAL_SECONDS)
    bench.beat("i-1")
    bench.refresh("i-1", eager=False)
    assert bench.store.count("list") == 3 and "i-1" in bench.reports.latest


def test_one_look_fetches_a_bounded_number_of_bodies_and_the_next_goes_on() -> None:
    bench = Bench()
    names = [f"i-{number}" for number in range(MAX_FETCHES + 5)]
    for name in names:
        bench.beat(name)
    bench.refresh(*names)
    assert bench.store.count("get") == MAX_FETCHES
    assert len(bench.reports.latest) == len(names), "who lives is known at once"
    bench.refresh(*names)
    assert all(report.heartbeat for report in bench.reports.latest.values())


def test_a_heartbeat_that_was_not_fetched_yet_is_marked() -> None:
    bench = Bench()
    for number in range(MAX_FETCHES + 1):
        bench.beat(f"i-{number}")
    bench.refresh()
    assert [report.is_read for report in bench.reports.latest.values()].count(False) == 1
    bench.refresh()
    assert all(report.is_read for report in bench.reports.latest.values())


def test_answers_are_counted_once_from_the_first_look_on() -> None:
    bench = Bench()
    bench.beat("i-old", answered=100)
    bench.refresh("i-old")
    assert bench.reports.answered == 0, "that was before"
    bench.beat("i-old", answered=103)
    bench.beat("i-new", answered=10)
    bench.refresh("i-old", "i-new")
    bench.refresh("i-old", "i-new")
    assert bench.reports.answered == 13
    bench.beat("i-new", answered=2, started_at=2.0)
    bench.refresh("i-old", "i-new")
    assert bench.reports.answered == 15, "a worker started again counts from zero"


def test_a_report_that_comes_after_its_successor_takes_nothing_away() -> None:
    bench = Bench()
    bench.refresh()
    counts = []
    for answered in (10, 8, 12):
        bench.beat("i-1", answered=answered)
        bench.refresh("i-1")
        counts.append(bench.reports.answered)
    assert counts == [10, 10, 12]


def test_the_last_word_of_an_instance_that_is_gone_is_read_and_removed() -> None:
    bench = Bench()
    bench.beat("i-1", answered=1)
    bench.refresh("i-1")
    bench.beat("i-1", answered=4, leaving=True)
    bench.refresh()
    assert bench.reports.answered == 3
    assert not bench.store.objects and not bench.reports.latest


def test_reports_of_instances_that_died_are_removed_in_time_and_others_never() -> None:
    bench = Bench()
    bench.beat("i-dead")
    bench.beat("i-here")
    bench.refresh("i-dead", "i-here")
    bench.refresh("i-here")
    assert key_of("i-dead") in bench.store.objects, "it may drain and report once more"
    bench.clock.advance(FORGET_SECONDS)
    bench.refresh("i-here")
    assert list(bench.store.objects) == [key_of("i-here")]


def test_a_dry_run_removes_nothing() -> None:
    bench = Bench()
    bench.reports = bench.new(keep=True)
    bench.beat("i-1", leaving=True)
    bench.refresh()
    bench.clock.advance(FORGET_SECONDS)
    bench.refresh()
    assert bench.store.count("delete") == 0


def test_what_is_no_heartbeat_still_shows_that_a_worker_lives() -> None:
    bench = Bench()
    bench.store.put(key_of("i-1"), b"garbage")
    bench.refresh("i-1")
    bench.refresh("i-1")
    assert bench.reports.latest["i-1"].heartbeat is None
    assert bench.store.count("get") == 1


def test_a_listing_that_fails_leaves_everything_as_it_was() -> None:
    bench = Bench()
    bench.beat("i-1")
    bench.refresh("i-1")
    before = dict(bench.reports.latest), bench.reports.looked_at
    bench.store.fail_next("list")
    with pytest.raises(CloudError):
        bench.refresh("i-1")
    assert (bench.reports.latest, bench.reports.looked_at) == before


def test_a_heartbeat_travels() -> None:
    heartbeat = Heartbeat(2.0, 1.0, "m@1", 3, 40, 2, 5.5, 0.03, 1.5, leaving=True)
    assert Heartbeat.decode(heartbeat.encode()) == heartbeat
    assert instance_of(key_of("i-1")) == "i-1"
    for body in (b"", b"[]", b'{"v": 2}', b"\xff", b'{"v": 1, "unknown": 1}'):
        with pytest.raises(DecodeError):
            Heartbeat.decode(body)


def test_a_heartbeat_below_its_role_is_that_of_its_instance_and_goes_with_it() -> None:
    bench, role = Bench(), "AROAEXAMPLEEXAMPLE123"
    key = key_of("i-1", role)
    assert key == f"workers/{role}:i-1.json" and instance_of(key) == "i-1"
    bench.store.put(key, Heartbeat(1.0, 0.0, "m@1", answered=3, leaving=True).encode())
    bench.reports.refresh(["i-1"], eager=True)
    found = bench.reports.latest["i-1"].heartbeat
    assert found is not None and found.answered == 3
    bench.reports.refresh([], eager=True)
    assert not bench.store.objects
