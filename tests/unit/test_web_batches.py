"""Batches over the API: lists, states, cancelling, deleting, webhooks."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from aws.buckets import StoredObject
from aws.in_memory import ManualClock
from core.batch_record import BatchRecord
from core.errors import CloudError
from core.fleet_status import FleetStatus, Sample
from core.jobs import ClassificationResult, Prediction
from core.webhooks import PendingWebhook
from tests.web import JPEG, WebBench
from web_tier import create_app
from web_tier.domain.batch_state import state_of
from web_tier.domain.batches import OPEN_SECONDS, UPLOADS_KEPT_SECONDS, Batch


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def create(bench: WebBench, **body: Any) -> dict[str, Any]:
    response = bench.client.post("/api/v1/batches", json=body)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def listed(bench: WebBench, **query: Any) -> tuple[list[str], str | None]:
    found = bench.get("/api/v1/batches", **query)
    return [batch["name"] for batch in found["batches"]], found["next_cursor"]


def test_batches_are_listed_newest_first_page_by_page(bench: WebBench) -> None:
    stamps = ["20250101-000000", "20251231-235959", "20260101-000000"]
    for number, stamp in enumerate(stamps):
        batch_id = f"{stamp}-00000000000{number}"
        bench.images.create_batch(batch_id, BatchRecord(stamp, "local", f"number {number}"))
        bench.index.add("local", batch_id)
    bench.index.add("another-owner", "20260101-000000-ffffffffffff")
    first, cursor = listed(bench, limit=2)
    assert first == ["number 2", "number 1"] and cursor is not None
    assert listed(bench, limit=2, cursor=cursor) == (["number 0"], None)


def test_a_viewer_does_not_have_all_announced_images_listed_again_and_again() -> None:
    clock = ManualClock(0.0)
    bench = WebBench(clock)
    batch_id = create(bench, announced=2)["batch_id"]
    read = bench.services.batches.read

    def listings() -> int:
        return bench.images.count("list")

    bench.upload(batch_id, [("a.jpg", JPEG)], 0)
    current = read(batch_id, None)
    assert (read(batch_id, current).missing, listings()) == (1, 2), "one is missing"
    bench.upload(batch_id, [("b.jpg", JPEG)], 1)
    clock.advance(1)
    current = read(batch_id, current)
    assert (current.accepted, listings()) == (2, 3)
    bench.answer()
    current = read(batch_id, current)
    assert (current.answered, current.complete, listings()) == (2, True, 3)
    bench.upload(batch_id, [("unannounced.jpg", JPEG)], 2)
    clock.advance(UPLOADS_KEPT_SECONDS)
    current = read(batch_id, current)
    assert (current.accepted, current.complete, listings()) == (3, False, 4)
    assert read(batch_id).accepted == 3 and listings() == 5, "who does not follow gets what is there"
    bench.results.mark_cancelled(batch_id)
    assert read(batch_id, current).cancelled and listings() == 6


def test_a_result_is_read_once_but_not_kept_for_ever() -> None:
    clock = ManualClock(0.0)
    bench = WebBench(clock)
    batch_id = create(bench)["batch_id"]
    bench.upload(batch_id, [("a.jpg", JPEG)], 0)
    bench.answer()

    def reads() -> int:
        assert bench.get(f"/api/v1/batches/{batch_id}/results")["results"][0]["label"] == "beagle"
        return bench.results.count("get")

    assert [reads(), reads()] == [1, 1]
    clock.advance(600)
    assert [reads(), reads()] == [2, 2]


def test_a_page_costs_one_listing_and_a_record_each_however_large_the_batches(bench: WebBench) -> None:
    for number in range(30):
        create(bench, name=str(number))
    bench.images.calls.clear()
    bench.index.calls.clear()
    assert len(listed(bench, limit=10)[0]) == 10
    assert bench.index.calls == [("page", "local")]
    assert {name for name, _argument in bench.images.calls} == {"read_batch"} and len(bench.images.calls) == 10
    assert not bench.results.calls


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x" * 61}])
def test_an_impossible_page_is_refused_with_the_field_at_fault(bench: WebBench, query: dict[str, Any]) -> None:
    response = bench.client.get("/api/v1/batches", query_string=query)
    problem = json.loads(response.data)
    assert (response.status_code, response.content_type) == (422, "application/problem+json")
    assert [error["field"] for error in problem["errors"]] == list(query)


def test_a_cursor_of_others_is_refused(bench: WebBench) -> None:
    assert bench.client.get("/api/v1/batches", query_string={"cursor": "nonsense"}).status_code == 400


def test_another_owners_batch_is_as_good_as_none(bench: WebBench) -> None:
    batch_id = create(bench)["batch_id"]
    bench.images.create_batch(batch_id, BatchRecord(owner="another-owner"))
    for method, path in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/results"),
        ("GET", "/results.csv"),
        ("GET", "/results.json"),
        ("GET", "/results/00000-a.jpg"),
        ("GET", "/events"),
        ("POST", "/images"),
        ("POST", "/uploads"),
        ("POST", "/uploads/complete"),
    ]:
        response = bench.client.open(f"/api/v1/batches/{batch_id}{path}", method=method)
        assert response.status_code == 404, path
    for path in ("", "/images/00000-a.jpg"):
        assert bench.client.get(f"/batches/{batch_id}{path}").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 422),
        ('{"name": 1}', 422),
        ('{"name": "a\\u0000b"}', 422),
        ('{"nmae": "x"}', 422),
        ('{"webhook": {"url": "http://example.org/"}}', 422),
        ('{"webhook": {"url": "https://127.0.0.1/"}}', 422),
        ('{"webhook": {"url": "https://example.org/", "secret": "short"}}', 422),
    ],
)
def test_a_body_that_cannot_be_meant_creates_nothing(bench: WebBench, body: str, status: int) -> None:
    response = bench.client.post("/api/v1/batches", data=body, content_type="application/json")
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert not bench.images.batches and not bench.state.objects


def test_a_body_that_is_too_long_is_refused(bench: WebBench) -> None:
    response = bench.client.post("/api/v1/batches", data=b" " * (32 * 1024 * 1024 + 1), content_type="application/json")
    assert (response.status_code, response.content_type) == (413, "application/problem+json")


def test_a_webhook_is_noted_with_its_secret(bench: WebBench) -> None:
    created = create(bench, webhook={"url": "https://example.org/hook"})
    stored = bench.state.get(f"webhooks/{created['batch_id']}.json")
    assert stored is not None
    pending = PendingWebhook.decode(stored.body)
    assert (pending.url, pending.secret) == ("https://example.org/hook", created["webhook_secret"])
    assert "secret" not in bench.images.batches[created["batch_id"]]


# --- states --------------------------------------------------------------------------------------


def fleet(booting: int, running: int) -> FleetStatus:
    sample = Sample(1.0, 0, 0, booting + running, booting, running, 0.0)
    return FleetStatus(1.0, "c", "", 0, 15, 2.0, 0.03, False, 30.0, None, 0.0, 0.0, 0, None, history=(sample,))


@pytest.mark.parametrize(
    ("uploads", "results", "cancelled", "status", "state"),
    [
        ("", "", False, None, "queued"),
        ("", "", False, fleet(3, 0), "queued"),
        ("ab", "", False, None, "queued"),
        ("ab", "", False, fleet(0, 0), "queued"),
        ("ab", "", False, fleet(3, 0), "warming"),
        ("ab", "", False, fleet(3, 1), "queued"),
        ("ab", "x", False, fleet(3, 0), "warming"),  # x was refused at once: no worker has classified anything
        ("ab", "a", False, fleet(0, 1), "classifying"),
        ("ab", "a", False, None, "classifying"),
        ("ab", "ab", False, None, "done"),
        ("", "x", False, None, "done"),
        ("ab", "ab", True, None, "cancelled"),
        ("ab", "a", True, fleet(0, 1), "cancelled"),
    ],
)
def test_the_state_of_a_batch(
    uploads: str, results: str, cancelled: bool, status: FleetStatus | None, state: str
) -> None:
    stored = {key: StoredObject(key, 1, "", datetime(2026, 1, 1, tzinfo=UTC)) for key in uploads + results}
    batch = Batch("b", "", [stored[key] for key in uploads], [stored[key] for key in results], cancelled=cancelled)
    assert state_of(batch, status) == state


@pytest.mark.parametrize(
    ("results", "state"), [("", "warming"), ("a", "classifying"), ("ab", "incomplete")], ids=["none", "one", "all"]
)
def test_a_batch_is_incomplete_when_all_that_came_is_answered(results: str, state: str) -> None:
    stored = {key: StoredObject(key, 1, "", datetime(2026, 1, 1, tzinfo=UTC)) for key in "ab"}
    batch = Batch("b", "", list(stored.values()), [stored[key] for key in results], announced=5, missing=3)
    assert state_of(batch, fleet(3, 0)) == state and not batch.complete


# --- cancelling and deleting ---------------------------------------------------------------------


def cancel(bench: WebBench, batch_id: str) -> dict[str, Any]:
    response = bench.client.post(f"/api/v1/batches/{batch_id}/cancel")
    assert response.status_code == 200, response.text
    return dict(response.get_json())


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_another_process_learns_of_a_batch_s_end(bench: WebBench, end: str) -> None:
    clock = ManualClock()
    other = WebBench()
    stores: tuple[Any, Any, Any, Any, Any] = (bench.images, bench.results, bench.queue, bench.index, bench.state)
    other.app = create_app(bench.settings, *stores, clock)
    other.client = other.app.test_client()
    batch_id = bench.create_batch()
    assert other.post(batch_id, [("a.jpg", JPEG)], 0).status_code == 200
    if end == "cancel":
        cancel(bench, batch_id)
    else:
        assert bench.client.delete(f"/api/v1/batches/{batch_id}").status_code == 204
    refused = 409 if end == "cancel" else 404
    assert bench.post(batch_id, [("b.jpg", JPEG)], 1).status_code == refused
    clock.advance(OPEN_SECONDS)
    assert other.post(batch_id, [("b.jpg", JPEG)], 1).status_code == refused


def test_an_image_costs_no_more_requests_than_it_needs(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)], 0)
    stores = (bench.images, bench.results, bench.queue, bench.index, bench.state)
    for store in stores:
        store.calls.clear()
    bench.upload(batch_id, [("b.jpg", JPEG)], 1)
    assert [name for store in stores for name, _argument in store.calls] == ["put", "send"]


def test_cancelling_answers_what_is_open_and_keeps_what_is_answered(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    bench.upload(batch_id, [("犬.jpg", JPEG), ("c.jpg", JPEG), ("empty.jpg", b"")])
    reported = cancel(bench, batch_id)
    assert (reported["cancelled"], reported["accepted"], reported["answered"], reported["complete"]) == (2, 4, 4, True)
    found = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert {result["name"]: result["error"] and result["error"]["code"] for result in found} == {
        "a.jpg": None,
        "犬.jpg": "cancelled",
        "c.jpg": "cancelled",
        "empty.jpg": "empty",
    }
    assert [result["image_url"] is None for result in found] == [False, True, True, True]
    assert list(bench.images.objects) == [f"{batch_id}/00000-a.jpg"]
    assert bench.get(f"/api/v1/batches/{batch_id}")["state"] == "cancelled"
    assert cancel(bench, batch_id)["cancelled"] == 0


def test_a_cancelled_batch_takes_no_more_images(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    cancel(bench, batch_id)
    base = f"/api/v1/batches/{batch_id}"
    assert bench.post(batch_id, [("a.jpg", JPEG)]).status_code == 409
    assert bench.client.post(f"{base}/uploads", json={"files": [{"name": "a", "size_bytes": 1}]}).status_code == 409
    assert bench.client.post(f"{base}/uploads/complete", json={"keys": [f"{batch_id}/00000-a"]}).status_code == 409
    assert not bench.images.objects


def test_a_race_between_cancelling_and_a_worker_leaves_exactly_one_answer_each(bench: WebBench) -> None:
    """Workers answer while the batch is being cancelled: in any order, no image is left or answered twice."""
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(f"{number}.jpg", JPEG) for number in range(100)])
    jobs = bench.queue.jobs
    gate = threading.Barrier(3)

    def work(mine: int) -> None:
        gate.wait()
        for job in jobs[mine::2]:
            if job.key in bench.images.objects:  # as a worker does: without the image there is nothing to classify
                bench.results.put(ClassificationResult(job.key, job.name, (Prediction("beagle", 0.9),)))

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(work, number) for number in range(2)]
        gate.wait()
        reported = cancel(bench, batch_id)
        for future in working:
            future.result()
    results = bench.get(f"/api/v1/batches/{batch_id}/results")
    assert reported["complete"] and results["accepted"] == results["answered"] == 100
    assert {result["position"] for result in results["results"]} == set(range(100))


def test_cancelling_that_fails_halfway_is_finished_by_repeating_it(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(f"{number}.jpg", JPEG) for number in range(10)])
    bench.results.fail_next("put", where=lambda key: "00005" in key)
    assert bench.client.post(f"/api/v1/batches/{batch_id}/cancel").status_code == 503
    assert cancel(bench, batch_id)["complete"]


def test_deleting_leaves_nothing_but_a_note(bench: WebBench) -> None:
    batch_id = create(bench, name="x", webhook={"url": "https://example.org/"})["batch_id"]
    other = bench.create_batch()
    for target in (batch_id, other):
        bench.upload(target, [("a.jpg", JPEG), ("b.jpg", JPEG), ("empty.jpg", b"")])
    bench.answer()
    url = f"/api/v1/batches/{batch_id}"
    bench.get(f"{url}/results")
    response = bench.client.delete(url)
    assert (response.status_code, response.data) == (204, b"")
    assert {key.partition("/")[0] for key in (*bench.images.objects, *bench.results.objects)} == {other}
    assert list(bench.images.batches) == [other] and not bench.state.objects
    assert bench.index.owners == {("local", other)} and list(bench.index.notes) == [batch_id]
    for path in ("", "/results", "/results.csv", "/results/00000-a.jpg"):
        assert bench.client.get(f"{url}{path}").status_code == 404
    assert bench.client.delete(url).status_code == 404
    assert bench.post(batch_id, [("c.jpg", JPEG)]).status_code == 404


@pytest.mark.parametrize("failing", ["results", "images", "index"])
def test_deleting_that_fails_halfway_is_finished_by_repeating_it(bench: WebBench, failing: str) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    store = getattr(bench, failing)
    store.fail_next("remove" if failing == "index" else "delete_batch", error=CloudError())
    assert bench.client.delete(f"/api/v1/batches/{batch_id}").status_code == 503
    assert bench.client.delete(f"/api/v1/batches/{batch_id}").status_code == 204
    assert not (bench.images.objects or bench.results.objects or bench.images.batches)
