"""One image, one answer: by the API, and in one line of text as workload generators expect."""

from __future__ import annotations

import base64
import io
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.test import TestResponse

from core.jobs import batch_of
from tests.web import JPEG, WebBench
from web_tier.domain import single_image


@pytest.fixture
def bench() -> WebBench:
    return WebBench(classify_wait_seconds=5.0, compat_wait_seconds=5.0)


@contextmanager
def working(bench: WebBench) -> Iterator[None]:
    """An app tier that answers what comes."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.01):
            bench.answer()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def by_form(bench: WebBench, content: bytes) -> TestResponse:
    return bench.client.post("/api/v1/classify", data={"image": (io.BytesIO(content), "dog.jpg")})


def by_body(bench: WebBench, content: bytes) -> TestResponse:
    return bench.client.post("/api/v1/classify?name=dog.jpg", data=content, content_type="image/jpeg")


def by_json(bench: WebBench, content: bytes) -> TestResponse:
    data = base64.b64encode(content).decode()
    return bench.client.post("/api/v1/classify", json={"name": "dog.jpg", "data": data})


def by_input_file(bench: WebBench, content: bytes, name: str = "test_00.jpeg") -> TestResponse:
    return bench.client.post("/", data={"inputFile": (io.BytesIO(content), name)})


@pytest.mark.parametrize("send", [by_form, by_body, by_json])
def test_an_image_is_answered_in_the_same_request(bench: WebBench, send: object) -> None:
    with working(bench):
        response = send(bench, JPEG)  # type: ignore[operator]
    assert response.status_code == 200
    found = response.get_json()
    assert (found["name"], found["status"], found["label"]) == ("dog.jpg", "classified", "beagle")
    assert next(iter(bench.images.objects.values())).body == JPEG
    assert bench.get("/api/v1/batches")["batches"] == [], "such images are in no list"


@pytest.mark.parametrize("send", [by_form, by_body, by_json])
@pytest.mark.parametrize(("content", "code"), [(b"", "empty"), (b"no image", "not_an_image")])
def test_a_file_that_cannot_be_classified_is_answered_at_once(
    bench: WebBench, send: object, content: bytes, code: str
) -> None:
    response = send(bench, content)  # type: ignore[operator]
    found = response.get_json()
    assert (response.status_code, found["status"], found["error"]["code"]) == (200, "failed", code)
    assert not bench.queue.jobs


def test_a_file_over_the_limit_is_not_kept() -> None:
    bench = WebBench(max_image_bytes=1000)
    found = by_body(bench, b"x" * 500_000).get_json()
    assert found["error"]["code"] == "too_large"
    assert not bench.images.objects


def test_what_takes_too_long_is_found_later(bench: WebBench) -> None:
    response = bench.client.post("/api/v1/classify?wait_seconds=0", data=JPEG, content_type="image/jpeg")
    location = response.headers["Location"]
    assert (response.status_code, response.get_json()["result_url"]) == (202, location)
    waiting = bench.client.get(location)
    assert (waiting.status_code, waiting.get_json()["status"]) == (202, "queued")
    bench.answer()
    assert bench.get(location)["label"] == "beagle"


def test_no_client_waits_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = WebBench(classify_wait_seconds=0.1)
    waits: list[float] = []
    monkeypatch.setattr(bench.services.single_images, "wait", lambda submitted, seconds: waits.append(seconds))
    answer = bench.client.post("/api/v1/classify?wait_seconds=100", data=JPEG, content_type="image/png")
    assert (answer.status_code, waits) == (202, [0.1])


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": b"x", "content_type": "text/plain"}, 415),
        ({"data": b""}, 415),
        ({"json": {"data": "%%%"}}, 422),
        ({"json": {"name": "a"}}, 422),
        ({"data": {"field": "no file"}, "content_type": "multipart/form-data"}, 422),
        ({"data": b"--x\r\nnonsense", "content_type": "multipart/form-data; boundary=x"}, 400),
        ({"query_string": {"wait_seconds": "nan"}, "data": JPEG, "content_type": "image/jpeg"}, 422),
        ({"query_string": {"wait_seconds": "-1"}, "data": JPEG, "content_type": "image/jpeg"}, 422),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(bench: WebBench, options: dict[str, Any], status: int) -> None:
    response = bench.client.post("/api/v1/classify", **options)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert not bench.images.objects


def test_single_images_share_batches_of_bounded_size(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_image, "IMAGES_PER_BATCH", 3)
    for _number in range(7):
        bench.client.post("/api/v1/classify?wait_seconds=0", data=JPEG, content_type="image/jpeg")
    sizes: dict[str, int] = {}
    for key in bench.images.objects:
        sizes[batch_of(key)] = sizes.get(batch_of(key), 0) + 1
    assert sorted(sizes.values()) == [1, 3, 3]


def test_a_cloud_that_fails_is_an_answer_to_try_again(bench: WebBench) -> None:
    bench.images.fail_next("put")
    response = by_body(bench, JPEG)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    bench.images.fail_next("put")
    text = by_input_file(bench, JPEG)
    assert (text.status_code, text.mimetype, text.headers["Retry-After"]) == (503, "text/plain", "5")


# --- POST / --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_00.jpeg", "a, b.jpg", "犬.jpg"])
def test_a_generator_gets_name_and_label_in_one_line(bench: WebBench, name: str) -> None:
    with working(bench):
        response = by_input_file(bench, JPEG, name)
    assert (response.status_code, response.mimetype, response.text) == (200, "text/plain", f"{name}:beagle")


def test_a_compatible_answer_says_why_a_file_cannot_be_classified(bench: WebBench) -> None:
    response = by_input_file(bench, b"")
    assert (response.status_code, response.text) == (422, "test_00.jpeg:error: the file is empty")


def test_a_compatible_answer_says_that_the_wait_was_in_vain() -> None:
    response = by_input_file(WebBench(compat_wait_seconds=0.05), JPEG)
    assert (response.status_code, response.mimetype) == (503, "text/plain")
    assert "has not been classified in time" in response.text


@pytest.mark.parametrize(
    "options",
    [
        {"data": {"other": (io.BytesIO(JPEG), "a.jpg")}},
        {"data": {}},
        {"data": JPEG, "content_type": "image/jpeg"},
        {"data": b"--x\r\nnonsense", "content_type": "multipart/form-data; boundary=x"},
    ],
)
def test_another_form_is_refused_in_one_line(bench: WebBench, options: dict[str, Any]) -> None:
    response = bench.client.post("/", **options)
    assert (response.status_code, response.mimetype, len(response.text.splitlines())) == (400, "text/plain", 1)
    assert not bench.images.objects


# --- images as JSON, and straight to S3 ----------------------------------------------------------


def test_images_as_base64_are_as_good_as_a_form(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    images = [
        {"name": "a.jpg", "data": base64.b64encode(JPEG).decode()},
        {"name": "empty.jpg", "data": ""},
        {"name": "b.jpg", "data": base64.encodebytes(JPEG).decode()},
    ]
    response = bench.client.post(f"/api/v1/batches/{batch_id}/images?offset=5", json={"images": images})
    report = response.get_json()
    assert [file["key"] for file in report["accepted"]] == [f"{batch_id}/00005-a.jpg", f"{batch_id}/00007-b.jpg"]
    assert [file["code"] for file in report["rejected"]] == ["empty"]
    assert {stored.body for stored in bench.images.objects.values()} == {JPEG}


def test_one_image_that_is_no_base64_refuses_the_request(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    images = [{"data": base64.b64encode(JPEG).decode()}, {"data": "n%"}]
    response = bench.client.post(f"/api/v1/batches/{batch_id}/images", json={"images": images})
    assert json.loads(response.data)["detail"] == "the data of image 1 is not base64"
    assert not bench.images.objects


def permit(bench: WebBench, batch_id: str, *files: tuple[str, int], query: str = "") -> TestResponse:
    body = {"files": [{"name": name, "size_bytes": size_bytes} for name, size_bytes in files]}
    return bench.client.post(f"/api/v1/batches/{batch_id}/uploads{query}", json=body)


def complete(bench: WebBench, batch_id: str, keys: list[str]) -> TestResponse:
    return bench.client.post(f"/api/v1/batches/{batch_id}/uploads/complete", json={"keys": keys})


def test_uploads_straight_to_s3_are_enqueued_when_they_have_arrived(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    uploads = permit(bench, batch_id, ("犬.jpg", 5), ("b.jpg", 7)).get_json()["uploads"]
    keys = [upload["key"] for upload in uploads]
    assert [upload["name"] for upload in uploads] == ["犬.jpg", "b.jpg"]
    assert bench.get(f"/api/v1/batches/{batch_id}")["accepted"] == 0, "nothing has been sent yet"
    bench.images.put(keys[0], b"12345", "犬.jpg")
    report = complete(bench, batch_id, keys).get_json()
    assert [file["name"] for file in report["accepted"]] == ["犬.jpg"]
    assert [file["position"] for file in report["not_stored"]] == [1]
    assert [(job.key, job.name) for job in bench.queue.jobs] == [(keys[0], "犬.jpg")]
    bench.answer()
    assert bench.get(f"/api/v1/batches/{batch_id}")["complete"], "what never came must not be waited for"


def test_two_permissions_for_the_same_name_never_share_a_key(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    keys = {permit(bench, batch_id, ("a.jpg", 1)).get_json()["uploads"][0]["key"] for _ in range(5)}
    assert len(keys) == 5
    named = {permit(bench, batch_id, ("a.jpg", 1), query="?offset=3").get_json()["uploads"][0]["key"] for _ in "ab"}
    assert named == {f"{batch_id}/00003-a.jpg"}


def test_what_arrived_although_it_is_too_large_or_empty_is_a_failure() -> None:
    bench = WebBench(max_image_bytes=10)
    batch_id = bench.create_batch()
    keys = [upload["key"] for upload in permit(bench, batch_id, ("a.jpg", 10), ("b.jpg", 1)).get_json()["uploads"]]
    bench.images.put(keys[0], b"x" * 11, "a.jpg")
    bench.images.put(keys[1], b"", "b.jpg")
    report = complete(bench, batch_id, keys).get_json()
    assert [file["code"] for file in report["rejected"]] == ["too_large", "empty"]
    assert not bench.images.objects and not bench.queue.jobs


@pytest.mark.parametrize("size_bytes", [0, 11, -1])
def test_a_permission_is_for_a_size_within_the_limit(size_bytes: int) -> None:
    bench = WebBench(max_image_bytes=10)
    assert permit(bench, bench.create_batch(), ("a.jpg", size_bytes)).status_code == 422


def test_no_more_permissions_than_a_batch_can_have() -> None:
    bench = WebBench(max_batch_images=2)
    assert permit(bench, bench.create_batch(), ("a", 1), ("b", 1), ("c", 1)).status_code == 422


def test_only_keys_of_the_batch_can_be_completed(bench: WebBench) -> None:
    batch_id, other = bench.create_batch(), bench.create_batch()
    for key in (f"{other}/00000-a.jpg", "batches/x.json", f"{batch_id}/../x", ""):
        assert complete(bench, batch_id, [key]).status_code == 422
    assert not bench.queue.jobs


def test_an_answer_that_cannot_be_looked_for_is_a_failure_at_once(bench: WebBench) -> None:
    bench.results.fail_next("list", times=math.inf, error=RuntimeError("a fault"))
    response = by_body(bench, JPEG)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "classified all the same" in response.get_json()["detail"]
