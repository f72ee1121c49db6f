"""Response times on the page, in the API and in the files of a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.response_time import ResponseTime
from tests.web import JPEG, WebBench

T = 1_790_000_000.0
NULLS = dict.fromkeys(("seconds_waiting", "seconds_booting", "seconds_classifying", "seconds_total"))


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def seconds_of(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name.startswith("seconds_")}


def timed_batch(bench: WebBench) -> str:
    """Two images that were answered after different times, and a file that was refused."""
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG), ("text.jpg", b"no image")], 0)
    bench.answer(response_time=ResponseTime(T, 0.5, 3.0, 0.0404))
    bench.upload(batch_id, [("b.jpg", JPEG)], 2)
    bench.answer(response_time=ResponseTime(T + 1, 1.5, 2.0, 0.06))
    return batch_id


def test_every_result_has_its_times(bench: WebBench) -> None:
    batch_id = timed_batch(bench)
    expected = [
        {"seconds_waiting": 0.5, "seconds_booting": 3.0, "seconds_classifying": 0.04, "seconds_total": 3.54},
        # It never was in the queue.
        NULLS,
        {"seconds_waiting": 1.5, "seconds_booting": 2.0, "seconds_classifying": 0.06, "seconds_total": 3.56},
    ]
    page = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert [seconds_of(result) for result in sorted(page, key=lambda result: str(result["key"]))] == expected
    file = json.loads(bench.client.get(f"/api/v1/batches/{batch_id}/results.json").text)
    assert [seconds_of(result) for result in file] == expected
    assert seconds_of(bench.get(f"/api/v1/batches/{batch_id}/results/00002-b.jpg")) == expected[2]


def test_a_batch_has_its_first_and_its_last_answer(bench: WebBench) -> None:
    found = bench.get(f"/api/v1/batches/{timed_batch(bench)}/response-times")
    assert {**found, "sentence": found["sentence"].replace("\u00a0", " ")} == {
        "sentence": "First answer after 3.5 s, last after 4.6 s; waiting 1.0 s, booting 2.5 s, classifying 0.05 s "
        "(median of 2 of 3 images)",
        "images": 2,
        "seconds_to_first": 3.54,
        "seconds_to_last": 4.56,
        "seconds_waiting": 1.0,
        "seconds_booting": 2.5,
        "seconds_classifying": 0.05,
        "seconds_total": 3.55,
    }


def test_a_batch_of_an_earlier_version_has_no_times(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, [("a.jpg", JPEG)])
    bench.answer()
    (result,) = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert seconds_of(result) == NULLS
    found = bench.get(f"/api/v1/batches/{batch_id}/response-times")
    assert (found["sentence"], found["images"], found["seconds_to_first"]) == ("", 0, None)
    assert 'id="response-times" hidden></p>' in bench.client.get(f"/batches/{batch_id}").text


def test_the_page_shows_them_once_all_is_answered(bench: WebBench) -> None:
    batch_id = timed_batch(bench)
    assert ">First answer after 3.5\u00a0s, last after 4.6\u00a0s;" in bench.client.get(f"/batches/{batch_id}").text
    bench.upload(batch_id, [("c.jpg", JPEG)], 3)
    assert "First answer" not in bench.client.get(f"/batches/{batch_id}").text


def test_the_times_of_others_are_not_found() -> None:
    bench = WebBench(authentication="tokens")
    ada, bob = bench.token("ada"), bench.token("bob")
    batch_id = bench.client.post("/api/v1/batches", headers=ada).get_json()["batch_id"]
    url = f"/api/v1/batches/{batch_id}/response-times"
    assert bench.client.get(url, headers=ada).status_code == 200
    assert bench.client.get(url, headers=bob).status_code == 404
