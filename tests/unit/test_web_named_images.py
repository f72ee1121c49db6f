"""``POST /`` with the keys and answers that graders of courses expect: images and results under the file's name."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.test import TestResponse

from core.jobs import ClassificationResult, Prediction, named_key
from tests.waiting import wait_until
from tests.web import JPEG, WebBench


def post(bench: WebBench, name: str = "test_00.jpg", content: bytes = JPEG, field: str = "inputFile") -> TestResponse:
    return bench.app.test_client().post("/", data={field: (io.BytesIO(content), name)})


@pytest.mark.parametrize("field", ["inputFile", "myfile"])
@pytest.mark.parametrize(
    ("form", "answer", "failure"),
    [
        ("name:label", "test_00.jpg:beagle", "test_00.jpg:error: the file is empty"),
        ("stem:label", "test_00:beagle", "test_00:error: the file is empty"),
        ("label", "beagle", "error: the file is empty"),
    ],
)
def test_the_answer_has_the_form_of_the_setting(field: str, form: str, answer: str, failure: str) -> None:
    bench = WebBench(compat_answer=form)
    bench.answer_at_once()
    found = post(bench, field=field)
    assert (found.status_code, found.mimetype, found.text) == (200, "text/plain", answer)
    refused = post(bench, content=b"", field=field)
    assert (refused.status_code, refused.text) == (422, failure)


def test_a_named_image_and_its_result_are_all_that_is_stored() -> None:
    bench = WebBench(compat_keys="name")
    bench.answer_at_once()
    names = ["test_00.jpg", "a, b.jpeg", "犬.png", "x" * 300 + ".jpg"]
    assert [post(bench, f"folder/{name}").text for name in names] == [f"{named_key(name)}:beagle" for name in names]
    assert set(bench.images.objects) == {named_key(name) for name in names} and not bench.images.batches
    bodies = {key: stored.body for key, stored in bench.results.objects.items()}
    assert bodies == {named_key(name).rpartition(".")[0]: b"beagle" for name in names}
    assert {stored.body for stored in bench.images.objects.values()} == {JPEG}


def test_a_file_that_cannot_be_classified_is_answered_under_its_name() -> None:
    bench = WebBench(compat_keys="name")
    assert post(bench, content=b"").text == "test_00.jpg:error: the file is empty"
    assert bench.results.objects["test_00"].body == b"error: the file is empty"
    assert not bench.images.objects and not bench.queue.jobs


def test_the_result_of_an_earlier_image_of_the_name_is_no_answer() -> None:
    bench = WebBench(compat_keys="name", compat_wait_seconds=0.3)
    bench.results.put(ClassificationResult("test_00.jpg", "test_00.jpg", (Prediction("church", 1.0),)))
    assert post(bench).status_code == 503
    bench.answer_at_once()
    assert post(bench).text == "test_00.jpg:beagle"


def test_an_earlier_result_in_a_listing_that_began_before_its_deletion_is_no_answer() -> None:
    bench = WebBench(compat_keys="name", compat_wait_seconds=30.0)
    bench.results.put(ClassificationResult("b.jpg", "b.jpg", (Prediction("church", 1.0),)))
    listed, go_on = threading.Event(), threading.Event()
    list_named = bench.results.list_named

    def list_slowly(start_after: str = "") -> object:
        found = list(list_named(start_after))
        if not listed.is_set():
            listed.set()
            go_on.wait(30)
        return iter(found)

    bench.results.list_named = list_slowly  # type: ignore[assignment]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, bench, "a.jpg")
        assert listed.wait(30)
        second = pool.submit(post, bench, "b.jpg")
        wait_until(lambda: bench.services.result_waiter.waiting == 2, "the second does not wait")
        go_on.set()
        wait_until(lambda: bench.results.count("list_named") >= 3, "nothing is looked for")
        assert not second.done()
        bench.answer()
        assert [future.result().text for future in (first, second)] == ["a.jpg:beagle", "b.jpg:beagle"]


def test_all_who_wait_for_images_of_one_name_are_answered() -> None:
    bench = WebBench(compat_keys="name", compat_wait_seconds=30.0)
    with ThreadPoolExecutor(3) as pool:
        posted = [pool.submit(post, bench, name) for name in ("test_00.jpg", "test_00.jpg", "test_00.png")]
        wait_until(lambda: bench.services.result_waiter.waiting == 3, "they do not wait")
        bench.answer()
        assert sorted(future.result().text for future in posted) == ["test_00.jpg:beagle"] * 2 + ["test_00.png:beagle"]
    assert bench.services.result_waiter.waiting == 0


@pytest.mark.parametrize(("failing", "calls"), [("images", "put"), ("results", "delete"), ("queue", "send")])
def test_a_cloud_that_fails_is_an_answer_to_try_again(failing: str, calls: str) -> None:
    bench = WebBench(compat_keys="name")
    getattr(bench, failing).fail_next(calls)
    response = post(bench)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_the_api_keeps_the_keys_of_batches() -> None:
    bench = WebBench(compat_keys="name", classify_wait_seconds=5.0)
    bench.answer_at_once()
    found = bench.client.post("/api/v1/classify?name=dog.jpg", data=JPEG, content_type="image/jpeg").get_json()
    assert (found["name"], found["label"], found["key"] in bench.images.objects) == ("dog.jpg", "beagle", True)
    assert found["key"].endswith("/00000-dog.jpg")


def test_a_name_that_makes_its_job_longer_than_a_message_is_refused_and_the_others_go_on() -> None:
    bench = WebBench(compat_keys="name", max_message_bytes=1024)
    batch_id, long_name = bench.create_batch(), "x" * 1000 + ".jpg"
    report = bench.upload(batch_id, [(long_name, JPEG), ("a.jpg", JPEG)])
    assert [(file["name"], file["code"]) for file in report["rejected"]] == [(long_name, "name_too_long")]
    permitted = bench.client.post(
        f"/api/v1/batches/{batch_id}/uploads", json={"files": [{"name": long_name, "size_bytes": len(JPEG)}]}
    )
    key = permitted.get_json()["uploads"][0]["key"]
    bench.images.put(key, JPEG, long_name)
    completed = bench.client.post(f"/api/v1/batches/{batch_id}/uploads/complete", json={"keys": [key]}).get_json()
    assert [file["code"] for file in completed["rejected"]] == ["name_too_long"]
    assert [job.name for job in bench.queue.jobs] == ["a.jpg"]
    bench.answer_at_once()
    assert post(bench, long_name).status_code == 200, "named images have shorter names"
