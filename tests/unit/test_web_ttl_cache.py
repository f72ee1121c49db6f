"""The read-through cache: how old a value may be, what is not cached, and who reads it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.in_memory import ManualClock
from core.errors import CloudError
from web_tier.ttl_cache import TTLCache


class Source:
    """Values that are read: the number of the reading, after `takes_seconds` of the clock."""

    def __init__(self, clock: ManualClock, takes_seconds: float = 0.0) -> None:
        self.read: list[str] = []
        self.error: Exception | None = None
        self._clock = clock
        self._takes_seconds = takes_seconds

    def __call__(self, key: str = "") -> int:
        self.read.append(key)
        self._clock.advance(self._takes_seconds)
        if self.error is not None:
            raise self.error
        return len(self.read)


def test_a_value_is_read_again_when_it_is_too_old() -> None:
    clock = ManualClock(0.0)
    source = Source(clock)
    cache = TTLCache(source, 5.0, clock=clock)
    seen = []
    for now in (0.0, 4.9, 5.0, 9.9, 10.0):
        clock.now_seconds = now
        seen.append(cache.get("a"))
    assert seen == [1, 1, 2, 2, 3]


def test_the_time_that_reading_takes_counts() -> None:
    clock = ManualClock(0.0)
    source = Source(clock, takes_seconds=3.0)
    cache = TTLCache(source, 5.0, clock=clock)
    assert cache.get("a") == 1
    clock.now_seconds = 4.9
    assert cache.get("a") == 1
    clock.now_seconds = 5.0
    assert cache.get("a") == 2, "read at 0, however late the answer came"


def test_a_value_that_was_too_old_when_it_came_is_returned_once() -> None:
    clock = ManualClock(0.0)
    cache = TTLCache(Source(clock, takes_seconds=6.0), 5.0, clock=clock)
    assert [cache.get("a"), cache.get("a")] == [1, 2]


def test_keys_are_apart_and_one_can_be_invalidated() -> None:
    cache = TTLCache(Source(clock := ManualClock()), 5.0, clock=clock)
    assert [cache.get("a"), cache.get("b")] == [1, 2]
    cache.invalidate("a")
    cache.invalidate("never read")
    assert [cache.get("a"), cache.get("b")] == [3, 2]


def test_a_failure_is_raised_and_not_cached() -> None:
    source = Source(clock := ManualClock())
    cache = TTLCache(source, 5.0, clock=clock)
    source.error = CloudError("S3 does not answer")
    with pytest.raises(CloudError):
        cache.get("a")
    source.error = None
    assert cache.get("a") == 2


def test_the_entries_used_last_are_kept() -> None:
    cache = TTLCache(Source(clock := ManualClock()), 5.0, max_entries=2, clock=clock)
    for key in ("a", "b", "a", "c", "a"):
        cache.get(key)
    assert (len(cache), cache.get("a"), cache.get("b")) == (2, 1, 4)


@pytest.mark.parametrize("fails", [False, True])
def test_with_single_flight_one_thread_reads_at_a_time(fails: bool) -> None:
    reading, most = 0, 0
    lock = threading.Lock()
    entered = threading.Barrier(4)

    def read() -> str:
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        threading.Event().wait(0.02)
        with lock:
            reading -= 1
        if fails:
            raise CloudError("no")
        return "value"

    cache = TTLCache(read, 60.0, single_flight=True)

    def ask() -> str:
        entered.wait()
        try:
            return cache.get()
        except CloudError:
            return "failed"

    with ThreadPoolExecutor(4) as pool:
        answers = [pending.result() for pending in [pool.submit(ask) for _number in range(4)]]
    assert set(answers) == {"failed" if fails else "value"}
    assert most == 1


def test_without_it_a_read_that_hangs_delays_no_other_thread() -> None:
    hang, hanging = threading.Event(), threading.Event()
    first = threading.Lock()

    def read(_key: str) -> str:
        if first.acquire(blocking=False):
            hanging.set()
            hang.wait(30)
            return "slow"
        return "fast"

    cache = TTLCache(read, 60.0)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, "a")
        assert hanging.wait(30)
        assert cache.get("a") == "fast"
        hang.set()
        assert slow.result() in ("slow", "fast")
