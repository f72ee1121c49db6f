"""Waiting for single answers costs a bounded number of requests, however many wait."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.in_memory import InMemoryResultStore
from core.jobs import ClassificationResult, Prediction, image_key
from tests.waiting import wait_until
from web_tier.domain import result_waiter
from web_tier.domain.result_waiter import ResultWaiter, TooManyWaitingError, WaitFailedError

BATCH = "20260101-000000-0123456789ab"
OTHER = "20260101-000000-ba9876543210"


@pytest.fixture
def results() -> InMemoryResultStore:
    return InMemoryResultStore()


@pytest.fixture
def watch(results: InMemoryResultStore) -> Iterator[ResultWaiter]:
    watch = ResultWaiter(results, 200)  # type: ignore[arg-type]
    yield watch
    watch.close()


def key(position: int, batch_id: str = BATCH) -> str:
    return image_key(batch_id, position, "a.jpg")


def answer(results: InMemoryResultStore, which: str) -> None:
    results.put(ClassificationResult(which, "a.jpg", (Prediction("beagle", 1.0),)))


def until_waiting(watch: ResultWaiter, count: int) -> None:
    wait_until(lambda: watch.waiting == count, f"there are never {count} waiting")


def test_each_waits_for_its_own_answer(results: InMemoryResultStore, watch: ResultWaiter) -> None:
    with ThreadPoolExecutor(3) as pool:
        first, second = pool.submit(watch.wait, key(1), 5.0), pool.submit(watch.wait, key(2), 0.6)
        other = pool.submit(watch.wait, key(1, OTHER), 5.0)
        until_waiting(watch, 3)
        answer(results, key(1))
        answer(results, key(1, OTHER))
        answer(results, key(3))
        assert (first.result(), second.result(), other.result()) == (True, False, True)
    assert watch.waiting == 0


def test_a_hundred_waiting_cost_as_many_requests_as_one(results: InMemoryResultStore, watch: ResultWaiter) -> None:
    with ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(watch.wait, key(number), 10.0) for number in range(100)]
        until_waiting(watch, 100)
        before, started = results.count("list"), time.monotonic()
        wait_until(lambda: results.count("list") >= before + 5, "nothing is asked for")
        rounds = (time.monotonic() - started) / result_waiter.MIN_INTERVAL_SECONDS
        assert results.count("list") - before <= rounds + 1
        for number in range(100):
            answer(results, key(number))
        assert all(future.result() for future in waiting)
    assert results.count("get") == results.count("exists") == 0


def test_no_store_is_asked_while_no_client_waits(results: InMemoryResultStore, watch: ResultWaiter) -> None:
    assert watch.wait(key(1), 0.05) is False
    wait_until(lambda: all(thread.name != "result-waiter" for thread in threading.enumerate()), "the thread never ends")
    before = results.count("list")
    time.sleep(3 * result_waiter.MIN_INTERVAL_SECONDS)
    assert results.count("list") == before


def test_a_cloud_that_fails_for_a_moment_only_delays(results: InMemoryResultStore, watch: ResultWaiter) -> None:
    results.fail_next("list", times=3)
    answer(results, key(1))
    assert watch.wait(key(1), 5.0)
    assert results.count("list") == 4


def test_no_more_wait_than_may(results: InMemoryResultStore) -> None:
    watch = ResultWaiter(results, 1)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(watch.wait, key(1), 5.0)
        until_waiting(watch, 1)
        assert watch.full
        with pytest.raises(TooManyWaitingError):
            watch.wait(key(2), 5.0)
        watch.close()
    assert watch.wait(key(3), 5.0) is False, "a closed watch lets no client wait"


def test_an_unexpected_exception_ends_the_waiting_for_its_batch_and_no_other(
    results: InMemoryResultStore, watch: ResultWaiter
) -> None:
    results.fail_next("list", math.inf, RuntimeError("a fault"), lambda prefix, *_: prefix == f"{BATCH}/")
    with ThreadPoolExecutor(3) as pool:
        failing = [pool.submit(watch.wait, key(position), 60.0) for position in (1, 2)]
        other = pool.submit(watch.wait, key(1, OTHER), 60.0)
        assert [type(future.exception(30)) for future in failing] == [WaitFailedError, WaitFailedError]
        answer(results, key(1, OTHER))
        assert other.result(30)
    results._planned.clear()
    answer(results, key(3))
    assert watch.wait(key(3), 30.0), "it goes on"


def test_a_thread_that_cannot_be_started_keeps_no_later_request_waiting(
    results: InMemoryResultStore, watch: ResultWaiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_threads(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(threading.Thread, "start", no_more_threads)
        watch.wait(key(1), 5.0)
    assert watch.waiting == 0
    answer(results, key(2))
    assert watch.wait(key(2), 5.0)
