"""Events: what a viewer is sent, where it goes on, and that many viewers cost as much as one."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from core.errors import CloudError
from core.fleet_status import FleetStatus, Sample
from tests.waiting import wait_until
from tests.web import JPEG, WebBench
from web_tier.api import events
from web_tier.domain import batch_watcher
from web_tier.domain.batch_watcher import TooManyViewersError, WatchFailedError


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebBench]:
    monkeypatch.setattr(batch_watcher, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.2)
    bench = WebBench()
    yield bench
    bench.services.close()


def fleet_status(booting: int, running: int) -> FleetStatus:
    sample = Sample(1.0, 0, 0, booting + running, booting, running, 0.0)
    return FleetStatus(1.0, "c", "", 0, 15, 2.0, 0.03, False, 30.0, None, 0.0, 0.0, 0, None, history=(sample,))


def read(bench: WebBench, batch_id: str, last_event_id: str = "") -> Generator[tuple[str, str, Any], None, None]:
    """(event, id, data) of each event as it comes; comments have no event."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    response = bench.client.get(f"/api/v1/batches/{batch_id}/events", headers=headers, buffered=False)
    assert (response.status_code, response.mimetype) == (200, "text/event-stream")
    try:
        for chunk in response.response:
            assert isinstance(chunk, bytes)
            lines = chunk.decode().strip().splitlines()
            fields: dict[str, str] = dict(line.split(": ", 1) for line in lines)
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null"))
    finally:
        response.close()


def names(events: list[tuple[str, str, Any]]) -> list[str]:
    return [result["name"] for kind, _id, data in events if kind == "results" for result in data["results"]]


def test_a_complete_batch_is_reported_and_the_stream_ends(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG)])
    bench.answer()
    events = [event for event in read(bench, batch_id) if event[0]]
    assert [kind for kind, _id, _data in events] == ["started", "results", "state", "complete"]
    assert names(events) == ["a.jpg", "b.jpg"]
    counts = {"accepted": 2, "answered": 2, "complete": True, "announced": 0, "missing": 0}
    assert events[2][2] == {**counts, "state": "done"}


def test_a_first_event_comes_before_anything_is_read(bench: WebBench) -> None:
    """By it, a viewer recognizes that nothing on the way holds events back."""
    batch_id = bench.create_batch()
    bench.results.fail_next("list", times=math.inf, error=CloudError())
    stream = read(bench, batch_id)
    assert next(stream) == ("started", "", {})
    stream.close()


def test_proxies_are_asked_not_to_hold_events_back(bench: WebBench) -> None:
    response = bench.client.get(f"/api/v1/batches/{bench.create_batch()}/events", buffered=False)
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in response.headers["Cache-Control"]
    response.close()


def test_results_come_as_they_are_stored_each_once(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    stream = read(bench, batch_id)
    kinds = [next(stream)[0], *(kind for kind, _id, _data in itertools.islice(stream, 1))]
    assert kinds == ["started", "state"]
    bench.answer()
    bench.upload(batch_id, [("b.jpg", JPEG)])
    seen = []
    for event in stream:
        seen.append(event)
        if names(seen) == ["a.jpg"] and bench.queue.jobs:
            bench.answer()
    assert names(seen) == ["a.jpg", "b.jpg"]
    assert seen[-1][0] == "complete"


def test_a_viewer_that_comes_back_goes_on_where_it_was(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    bench.clock.advance(60)
    bench.upload(batch_id, [("b.jpg", JPEG), ("later.jpg", JPEG)])
    b, _later = bench.queue.jobs
    bench.fail(b.key, "b.jpg")
    stream = read(bench, batch_id)
    last_id = next(event_id for kind, event_id, _data in stream if kind == "results")
    stream.close()
    bench.clock.advance(60)
    bench.answer()
    again = list(read(bench, batch_id, last_id))
    assert "a.jpg" not in names(again) and "later.jpg" in names(again)
    # Everything has been seen: a browser that comes back all the same is asked to stay away, until something is new.
    end = again[-1][1]
    url, headers = f"/api/v1/batches/{batch_id}/events", {"Last-Event-ID": end}
    assert bench.client.get(url, headers=headers).status_code == 204
    bench.upload(batch_id, [("new.jpg", JPEG)])
    bench.answer()
    assert "new.jpg" in names(list(read(bench, batch_id, end)))


@pytest.mark.parametrize(("cursor", "status"), [("nonsense", 400), ("e30.1", 400), ("x" * 2000, 400)])
def test_ids_of_others_are_refused(bench: WebBench, cursor: str, status: int) -> None:
    url = f"/api/v1/batches/{bench.create_batch()}/events"
    assert bench.client.get(url, headers={"Last-Event-ID": cursor}).status_code == status


def test_while_nothing_happens_the_connection_is_kept_alive(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LIFETIME_SECONDS", 0.5)
    kinds = [kind for kind, _id, _data in read(bench, bench.create_batch()) if kind != ""]
    assert kinds == ["started", "state"]


def test_many_viewers_cost_as_many_listings_as_one(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    with ExitStack() as stack:
        watches = [stack.enter_context(bench.services.watcher.watch(batch_id)) for _number in range(100)]
        assert len(set(map(id, watches))) == 1 and bench.services.watcher.viewers == 100
        before = bench.results.count("list")
        started = time.monotonic()
        wait_until(lambda: bench.results.count("list") >= before + 3, "no thread looks")
        rounds = (time.monotonic() - started) / batch_watcher.INTERVAL_SECONDS
        assert bench.results.count("list") - before <= rounds + 1
    wait_until(lambda: all(thread.name != "watch" for thread in threading.enumerate()), "a thread still looks")
    before = bench.results.count("list")
    time.sleep(0.3)
    assert bench.results.count("list") == before, "a thread looks although no client watches"


def test_no_more_viewers_than_may(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    with ExitStack() as stack:
        for _number in range(256):
            stack.enter_context(bench.services.watcher.watch(batch_id))
        with pytest.raises(TooManyViewersError):
            stack.enter_context(bench.services.watcher.watch(batch_id))
        response = bench.client.get(f"/api/v1/batches/{batch_id}/events")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_a_deleted_batch_ends_its_streams(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    stream = read(bench, batch_id)
    assert next(stream)[0] == "started"
    assert next(stream)[0] == "state"
    bench.client.delete(f"/api/v1/batches/{batch_id}")
    assert [kind for kind, _id, _data in stream if kind] == ["deleted"]
    assert bench.client.get(f"/api/v1/batches/{batch_id}/events").status_code == 404


def test_a_server_that_stops_ends_its_streams(bench: WebBench) -> None:
    stream = read(bench, bench.create_batch())
    assert [next(stream)[0], next(stream)[0]] == ["started", "state"]
    bench.services.close()
    assert [kind for kind, _id, _data in stream if kind] == []
    assert bench.client.get("/readyz").status_code == 503


def test_the_fleet_is_reported_when_it_changes(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.state.put("controller/status.json", fleet_status(booting=2, running=0).encode())
    stream = read(bench, batch_id)
    reported = {kind: data for kind, _id, data in itertools.islice(stream, 3)}
    assert reported["fleet"] == {"desired": 2, "booting": 2, "running": 0, "expected_boot_seconds": 30.0}
    assert reported["state"]["state"] == "warming"
    stream.close()


def test_a_state_bucket_that_fails_takes_only_the_hint(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.state.fail_next("get", times=float("inf"), error=CloudError())
    assert bench.get(f"/api/v1/batches/{batch_id}")["state"] == "queued"
    assert bench.client.get("/api/v1/fleet").status_code == 503


def test_an_unexpected_exception_ends_the_streams_and_viewers_come_back(
    bench: WebBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 60.0)
    monkeypatch.setattr(events, "LIFETIME_SECONDS", 5.0)
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    bench.results.fail_next("list", times=math.inf, error=RuntimeError("a fault"))
    assert len(list(read(bench, batch_id))) == 1, "nothing but how soon to come back"
    bench.results._planned.clear()
    assert [kind for kind, _id, _data in read(bench, batch_id) if kind][-1] == "complete"


def test_a_watch_goes_on_after_an_unexpected_exception(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.results.fail_next("list", times=3, error=RuntimeError("a fault"))
    with bench.services.watcher.watch(batch_id) as watch:
        snapshot, failures = None, 0
        while snapshot is None:
            try:
                snapshot = watch.wait(0, 10.0)
            except WatchFailedError:
                failures += 1
    assert failures <= 3 and snapshot.batch is not None


def test_a_watch_whose_thread_cannot_be_started_is_no_trap(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more_threads(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    batch_id = bench.create_batch()
    watcher = bench.services.watcher
    with monkeypatch.context() as patched, pytest.raises(RuntimeError), ExitStack() as stack:
        patched.setattr(threading.Thread, "start", no_more_threads)
        stack.enter_context(watcher.watch(batch_id))
    assert watcher.viewers == 0
    with watcher.watch(batch_id) as watch:
        assert watch.wait(0, 5.0) is not None
