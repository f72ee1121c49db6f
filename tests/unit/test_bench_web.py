"""The web benchmark's own parts: the report, the bare handler, and the viewers' latencies."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from api_client.client import IMAGES_PER_REQUEST
from benchmarks.page import longest_cpu_ms
from benchmarks.web_bare import create_app
from benchmarks.web_load import Load, forms
from benchmarks.web_uploads import BARE, WEB, Case, Measured, headline, single_ratio
from benchmarks.web_viewers import latencies_seconds
from core.errors import ElasticError


class FakeS3:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
        assert Bucket == "bucket" and Key
        self.bodies.append(Body)


def test_the_bare_handler_stores_the_bodies_that_are_sent() -> None:
    s3 = FakeS3()
    photos = [b"one", b"two\r\n--", b"\x00three"]
    body, content_type = forms(photos, 3)[0]
    answer = create_app("bucket", s3).test_client().post("/", input_stream=io.BytesIO(body), content_type=content_type)
    assert s3.bodies == photos
    assert len(answer.get_json()["accepted"]) == 3


def test_forms_take_turns_with_the_photos() -> None:
    first, second = (body for body, _ in forms([b"-one-", b"-two-", b"-three-"], 2)[:2])
    assert b"-one-" in first and b"-two-" in first and b"-three-" not in first
    assert b"-three-" in second and b"-one-" in second and b"-two-" not in second


def test_a_ratio_is_between_the_turns_of_one_round() -> None:
    measured = Measured(Case(clients=1, requests=10, images_per_request=20))
    # The machine was ten times slower in the second round; within each round the web tier took 1.25 times as long.
    measured.loads[BARE] = [Load(1.0, [0.1] * 10), Load(10.0, [1.0] * 10)]
    measured.loads[WEB] = [Load(1.25, [0.1] * 9 + [0.3]), Load(12.5, [1.0] * 10)]
    summary = measured.summary()
    assert summary["ratios"] == [0.8, 0.8]
    assert summary["ratio"] == 0.8
    assert summary["uploads_per_second"] == 88.0
    assert summary["bare_uploads_per_second"] == 110.0
    assert (summary["requests"], summary["p50_ms"], summary["p99_ms"]) == (20, 650.0, 1000.0)


def test_the_headline_is_the_worst_case_of_full_requests() -> None:
    def found(clients: int, images: int, ratio: float) -> dict[str, Any]:
        return {"clients": clients, "images_per_request": images, "ratio": ratio}

    runs = [found(1, IMAGES_PER_REQUEST, 0.9), found(10, IMAGES_PER_REQUEST, 0.7), found(1, 1, 0.3)]
    assert headline(runs)["clients"] == 10
    assert single_ratio(runs) == 0.3


def test_latencies_of_a_viewer() -> None:
    stored = [("a", 1.0), ("b", 2.0)]
    assert latencies_seconds(stored, [("b", 2.5), ("a", 0.9)]) == [0.5, 0.0]


@pytest.mark.parametrize("received", [[("a", 1.5)], [("a", 1.5), ("a", 1.6)], [("a", 1.5), ("b", 2.1), ("a", 2.2)]])
def test_a_viewer_that_misses_a_result_or_receives_it_twice_is_an_error(received: list[tuple[str, float]]) -> None:
    with pytest.raises(ElasticError, match="each of 2 once"):
        latencies_seconds([("a", 1.0), ("b", 2.0)], received)


def test_a_task_counts_with_the_processor_time_of_its_own() -> None:
    def event(name: str, tid: int, **fields: Any) -> dict[str, Any]:
        return {"name": name, "pid": 1, "tid": tid, **fields}

    events = [
        event("thread_name", 1, args={"name": "CrRendererMain"}),
        event("thread_name", 2, args={"name": "Compositor"}),
        event("RunTask", 1, dur=700_000, tdur=38_000),
        event("RunTask", 1, dur=50_000, tdur=12_000),
        event("RunTask", 2, dur=90_000, tdur=90_000),
    ]
    assert longest_cpu_ms(json.dumps({"traceEvents": events}).encode()) == 38.0
