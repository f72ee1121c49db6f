"""The API: what programs receive, in good times and bad."""

from __future__ import annotations

import io
import json
import logging
import math

import pytest
from werkzeug.test import TestResponse

from core.errors import CloudError, NotFoundError
from core.response_time import TIME_FIELDS
from tests.web import JPEG, WebBench
from web_tier.api import results

UNKNOWN = "20250101-000000-aaaaaaaaaaaa"


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def problem(response: TestResponse) -> dict[str, object]:
    assert response.content_type == "application/problem+json"
    found: dict[str, object] = json.loads(response.data)
    assert found["status"] == response.status_code
    assert {"type", "title", "status", "detail"} == set(found) - {"errors"}
    return found


def test_a_new_batch_names_its_addresses(bench: WebBench) -> None:
    response = bench.client.post("/api/v1/batches")
    fields = response.get_json()
    batch_id = fields["batch_id"]
    assert response.status_code == 201
    assert response.headers["Location"] == f"/api/v1/batches/{batch_id}"
    assert fields == {
        "batch_id": batch_id,
        "url": f"/batches/{batch_id}",
        "images_url": f"/api/v1/batches/{batch_id}/images",
        "results_url": f"/api/v1/batches/{batch_id}/results",
        "events_url": f"/api/v1/batches/{batch_id}/events",
    }
    assert bench.images.read_batch(batch_id).created_at


def test_the_counts_of_a_batch(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    path = f"/api/v1/batches/{batch_id}"

    def counts() -> tuple[int, int, bool]:
        found = bench.get(path)
        return found["accepted"], found["answered"], found["complete"]

    assert counts() == (0, 0, False)
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG), ("empty.jpg", b"")])
    assert counts() == (3, 1, False)
    bench.answer()
    assert counts() == (3, 3, True)
    assert bench.get(path)["created_at"].startswith("20")


def test_results_have_all_fields(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("犬.jpg", JPEG), ("empty.jpg", b"")])
    bench.answer("beagle", 0.4)
    found = bench.get(f"/api/v1/batches/{batch_id}/results")
    results = {result["position"]: result for result in found["results"]}
    assert results[0] == {
        "key": f"{batch_id}/00000-jpg",
        "position": 0,
        "name": "犬.jpg",
        "status": "classified",
        "label": "beagle",
        "score": 0.4,
        "unsure": True,
        "group": {"name": "mammal", "score": 1.0},
        "top_k": [
            {"label": "beagle", "score": 0.4, "group": "dog"},
            {"label": "dingo", "score": 0.6, "group": "mammal"},
        ],
        "error": None,
        "note": None,
        "model": "test@1",
        **dict.fromkeys(TIME_FIELDS),
        "image_url": f"/batches/{batch_id}/images/00000-jpg",
    }
    assert results[1] == {
        "key": f"{batch_id}/00001-empty.jpg",
        "position": 1,
        "name": "empty.jpg",
        "status": "failed",
        "label": None,
        "score": None,
        "unsure": False,
        "group": None,
        "top_k": [],
        "error": {"code": "empty", "sentence": "the file is empty"},
        "note": None,
        "model": "",
        **dict.fromkeys(TIME_FIELDS),
        "image_url": None,
    }
    assert (found["accepted"], found["answered"], found["complete"], found["more"]) == (2, 2, True, False)


def test_only_an_unsure_model_answers_with_a_group_and_other_models_labels_have_none(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    for number, (label, score) in enumerate([("beagle", 0.9), ("frog", 0.4)]):
        bench.upload(batch_id, [(f"{number}.jpg", JPEG)])
        bench.answer(label, score)
    first, second = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert (first["unsure"], first["group"], first["top_k"][0]["group"]) == (False, None, "dog")
    assert (second["unsure"], second["group"]) == (True, None)
    assert [entry["group"] for entry in second["top_k"]] == [None, None]


def test_a_finished_batch_repeats_nothing_however_often_it_is_polled(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    path = f"/api/v1/batches/{batch_id}/results"
    delivered: list[str] = []
    cursor = ""
    for number in range(300):
        if number % 20 == 0:
            bench.upload(batch_id, [(f"{number + index}.jpg", JPEG) for index in range(20)])
            bench.answer()
        page = bench.get(path, cursor=cursor)
        delivered += [result["key"] for result in page["results"]]
        cursor = page["cursor"]
        bench.clock.advance(0.1)
    assert len(delivered) == len(set(delivered)) == 300


def test_a_cursor_brings_only_what_is_new(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    path = f"/api/v1/batches/{batch_id}/results"
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    bench.clock.advance(60)
    bench.upload(batch_id, [("b.jpg", JPEG)])
    bench.answer()
    first = bench.get(path)
    bench.clock.advance(60)
    bench.upload(batch_id, [("c.jpg", JPEG)])
    bench.answer()
    second = bench.get(path, cursor=first["cursor"])
    assert [result["name"] for result in first["results"]] == ["a.jpg", "b.jpg"]
    assert [result["name"] for result in second["results"]] == ["c.jpg"]


def test_a_long_answer_comes_in_pages(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS_PER_PAGE", 4)
    batch_id = bench.create_batch()
    bench.upload(batch_id, [(f"{number}.jpg", JPEG) for number in range(10)])
    bench.answer()
    names, cursor, more = [], "", [True]
    while more[-1]:
        page = bench.get(f"/api/v1/batches/{batch_id}/results", cursor=cursor)
        names += [result["name"] for result in page["results"]]
        cursor = page["cursor"]
        more.append(page["more"])
    assert (names, more) == ([f"{number}.jpg" for number in range(10)], [True, True, True, False])


def test_each_result_is_fetched_once(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    for _ in range(3):
        bench.get(f"/api/v1/batches/{batch_id}/results")
    assert bench.results.count("get") == 1
    bench.upload(batch_id, [("a.jpg", JPEG)], offset=0)
    bench.answer("dingo")
    found = bench.get(f"/api/v1/batches/{batch_id}/results")
    assert [result["label"] for result in found["results"]] == ["dingo"]


def test_what_others_put_into_the_bucket_does_no_harm(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG)])
    bench.answer()
    bench.results.put_garbage(f"{batch_id}/00001-b.jpg")
    bench.results.put_garbage(f"{batch_id}/readme.txt")
    found = bench.get(f"/api/v1/batches/{batch_id}/results")
    assert [(result["name"], result["error"] and result["error"]["code"]) for result in found["results"]] == [
        ("a.jpg", None),
        ("b.jpg", "unreadable"),
    ]
    assert found["accepted"] == 2


def test_a_result_that_vanishes_while_it_is_read_is_left_out(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", JPEG)])
    bench.answer()
    bench.results.fail_next("get", error=NotFoundError(), where=lambda key: key.endswith("a.jpg"))
    found = bench.get(f"/api/v1/batches/{batch_id}/results")
    assert [result["name"] for result in found["results"]] == ["b.jpg"]


@pytest.mark.parametrize("batch_id", [UNKNOWN, "nonsense", "..", "20250101-000000-AAAAAAAAAAAA", "%00"])
@pytest.mark.parametrize("path", ["", "/results", "/results.csv"])
def test_an_unknown_batch_is_not_found(bench: WebBench, batch_id: str, path: str) -> None:
    assert problem(bench.client.get(f"/api/v1/batches/{batch_id}{path}"))["status"] == 404


def test_images_for_an_unknown_batch_are_not_stored(bench: WebBench) -> None:
    assert problem(bench.post(UNKNOWN, [("a.jpg", JPEG)]))["status"] == 404
    assert not bench.images.objects


@pytest.mark.parametrize("offset", ["-1", "10000", "x", "", "1.5", "٣", "9" * 5000])
def test_an_impossible_offset_is_refused(bench: WebBench, offset: str) -> None:
    response = bench.client.post(f"/api/v1/batches/{bench.create_batch()}/images", query_string={"offset": offset})
    assert problem(response)["status"] == 422
    assert "offset" in str(problem(response)["detail"])
    assert not bench.images.objects


@pytest.mark.parametrize("cursor", ["nonsense", "e30", "W10"])
def test_a_foreign_cursor_is_refused(bench: WebBench, cursor: str) -> None:
    response = bench.client.get(f"/api/v1/batches/{bench.create_batch()}/results", query_string={"cursor": cursor})
    assert problem(response)["status"] == 400


def test_a_body_that_is_no_form_is_refused(bench: WebBench) -> None:
    path = f"/api/v1/batches/{bench.create_batch()}/images"
    assert problem(bench.client.post(path, data=b"{}", content_type="application/json"))["status"] == 422
    assert problem(bench.client.post(path, data=b"{", content_type="application/json"))["status"] == 400
    assert problem(bench.client.post(path, data=b"{}", content_type="text/plain"))["status"] == 400
    broken = bench.client.post(path, data=b"--x\r\nnonsense", content_type="multipart/form-data; boundary=x")
    assert problem(broken)["status"] == 400


def test_a_connection_that_breaks_off_is_refused_and_keeps_what_came(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n'
    body = head % b"a.jpg" + JPEG + b"\r\n" + head % b"b.jpg" + JPEG[:20]
    response = bench.client.post(
        f"/api/v1/batches/{batch_id}/images",
        input_stream=io.BytesIO(body),
        content_length=len(body) + 1000,
        content_type="multipart/form-data; boundary=x",
    )
    assert problem(response)["status"] == 400
    assert [job.name for job in bench.queue.jobs] == ["a.jpg"]


def test_a_cloud_that_fails_is_an_answer_to_try_again(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    for store, method, path in [
        (bench.images, "read_batch", ""),
        (bench.images, "list", "/results"),
        (bench.results, "list", "/results.csv"),
    ]:
        store.fail_next(method, error=CloudError("secret endpoint 10.0.0.1 refused"))
        response = bench.client.get(f"/api/v1/batches/{batch_id}{path}")
        assert (problem(response)["status"], response.headers["Retry-After"]) == (503, "5")
        assert b"secret" not in response.data
        # The failure of one moment is remembered by no cache.
        assert bench.client.get(f"/api/v1/batches/{batch_id}{path}").status_code == 200
    bench.images.fail_next("create_batch", times=math.inf)
    assert problem(bench.client.post("/api/v1/batches"))["status"] == 503


def test_errors_of_http_itself_are_problems_too(bench: WebBench) -> None:
    assert problem(bench.client.get("/api/v1/nothing"))["status"] == 404
    response = bench.client.delete("/api/v1/batches")
    assert problem(response)["status"] == 405
    assert "POST" in response.headers["Allow"]


def test_a_bug_is_a_problem_without_details(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.images.fail_next("create_batch", error=RuntimeError("a secret"))
    response = bench.client.post("/api/v1/batches")
    assert problem(response)["status"] == 500
    assert b"secret" not in response.data


def test_limits_and_health(bench: WebBench) -> None:
    limits = bench.get("/api/v1/limits")
    assert limits["max_image_bytes"] == 10 * 1024 * 1024
    assert "JPEG" in limits["formats"]
    names = "max_image_bytes", "max_archive_bytes", "max_image_pixels", "max_batch_images", "formats", "unsure_below"
    assert set(limits) == set(names)
    assert bench.get("/healthz") == {"status": "ok"}
    assert not bench.images.calls


def test_polling_is_not_logged_and_a_name_cannot_forge_a_line(
    bench: WebBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "web_tier")
    bench.get(f"/api/v1/batches/{bench.create_batch()}/results")
    bench.client.get("/a%0Ab")
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("web_tier.")]
    assert [message.split()[:2] for message in logged] == [
        ["POST", "'/api/v1/batches'"],
        ["GET", "'/a\\nb'"],
    ]
