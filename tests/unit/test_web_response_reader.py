"""The reader of the response queue: it empties the queue, and those who wait find their results sooner."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.in_memory import InMemoryResponseQueue
from core.errors import CloudError
from core.jobs import ClassificationResult, Prediction
from tests.waiting import wait_until
from tests.web import WebBench
from web_tier.domain import result_waiter
from web_tier.domain.response_reader import ResponseReader


def test_a_message_ends_the_pause_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_INTERVAL_SECONDS", "MAX_INTERVAL_SECONDS"):
        monkeypatch.setattr(result_waiter, name, 3600.0)
    bench, responses = WebBench(), InMemoryResponseQueue()
    waiter = bench.services.result_waiter
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waiter.wait, "a.jpg", 3600.0)
        wait_until(lambda: bench.results.count("list_named") == 1, "nothing is looked for")
        bench.results.put(ClassificationResult("a.jpg", "a.jpg", (Prediction("beagle", 1.0),)))
        responses.send("a:beagle")
        ResponseReader(responses, waiter).round()
        assert waiting.result()
    assert not responses.lines
    waiter.close()


def test_all_messages_are_taken_whether_a_request_waits_or_not() -> None:
    bench, responses, stop = WebBench(), InMemoryResponseQueue(), threading.Event()
    for number in range(25):
        responses.send(f"{number}:beagle")
    responses.fail_next("take")
    reader = ResponseReader(responses, bench.services.result_waiter)
    with pytest.raises(CloudError):
        reader.round()
    reader.start(stop)
    try:
        wait_until(lambda: not responses.lines, "messages are left")
    finally:
        stop.set()
