"""Packs of results: full or in time, of one batch each, and nothing held back when the worker stops."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from app_tier.result_packer import PACK_SECONDS, ResultPacker
from tests.waiting import PATIENCE_SECONDS

Item = tuple[str, int]


class Bench:
    def __init__(self, size: int = 5, *, stops: bool = False) -> None:
        self.now = 100.0
        self.stops = stops
        self.packer: ResultPacker[Item] = ResultPacker(size, lambda item: item[0], lambda: self.stops, self._clock)
        self.packs: list[list[Item]] = []
        self.times: list[float] = []

    def _clock(self) -> float:
        """Time passes with each look."""
        self.now += 0.01
        return self.now

    def run(self) -> None:
        for pack in self.packer.packs():
            self.packs.append(pack)
            self.times.append(self.now)


def test_items_are_packed_in_order_and_none_is_left_out() -> None:
    bench = Bench()
    for number in range(23):
        bench.packer.put(("a", number))
    bench.packer.end()
    bench.run()
    assert [number for pack in bench.packs for _, number in pack] == list(range(23))
    assert max(map(len, bench.packs)) == 5 and len(bench.packs) <= 6


def test_a_pack_has_one_batch() -> None:
    bench = Bench(size=50)
    bench.now = 0.0
    bench.packer.put(("a", 0))
    thread = threading.Thread(target=bench.run, daemon=True)
    thread.start()
    for number in range(1, 30):
        bench.packer.put(("abc"[number % 3], number))
    bench.packer.end()
    thread.join(PATIENCE_SECONDS)
    assert all(len({batch for batch, _ in pack}) == 1 for pack in bench.packs)
    assert sorted(number for pack in bench.packs for _, number in pack) == list(range(30))


def test_the_first_after_a_pause_is_not_delayed_and_the_next_ones_share_a_pack() -> None:
    bench = Bench(size=50)
    bench.packer.put(("a", 0))
    packs = bench.packer.packs()
    started = bench.now
    assert next(packs) == [("a", 0)] and bench.now - started < PACK_SECONDS
    for number in range(1, 4):
        bench.packer.put(("a", number))
    assert next(packs) == [("a", 1), ("a", 2), ("a", 3)]
    bench.packer.put(("a", 4))
    assert next(packs) == [("a", 4)]
    assert all(later - earlier >= PACK_SECONDS for earlier, later in pairwise(bench.times))


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_waits_while_the_worker_stops(count: int) -> None:
    bench = Bench(size=50, stops=True)
    packs = bench.packer.packs()
    for _ in range(2):
        started = bench.now
        for number in range(count):
            bench.packer.put(("a", number))
        assert next(packs) == [("a", number) for number in range(count)]
        assert bench.now - started < PACK_SECONDS
