"""Request bodies: no route reads more than its limit, only uploads take files, and all together hold bounded memory."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.full_disk import FULL_DISK_BYTES, full_disk
from tests.properties import examples
from tests.web import JPEG, File, WebBench
from web_tier.api.request_body import has_more_values
from web_tier.domain.memory import SPOOL_BYTES, SPOOL_MEMORY, MemoryBudget, MemoryBusyError, SpooledFile
from web_tier.security.body_limits import DEFAULT, LIMITS, SMALL_BODY_BYTES, Files

ENDLESS_BYTES = 200 * 1024 * 1024
# Read ahead of what a limit needs: by the server's buffers, and by this test's.
SLACK_BYTES = 128 * 1024
MULTIPART = "multipart/form-data; boundary=x"
TYPES = [MULTIPART, "application/json", "application/x-www-form-urlencoded", "image/png", "text/plain", None]


class Endless(io.RawIOBase):
    """A body of `ENDLESS_BYTES` that counts what is read of it."""

    def __init__(self, start: bytes) -> None:
        self.read_bytes = 0
        self._start = start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), ENDLESS_BYTES - self.read_bytes)
        piece = self._start[self.read_bytes :][:size].ljust(size, b"z")
        buffer[:size] = piece
        self.read_bytes += size
        return size


def requests_of(bench: WebBench) -> Iterator[tuple[str, str, str]]:
    """An endpoint, a method and a path of every route."""
    batch_id = "20260101-000000-0123456789ab"
    for rule in bench.app.url_map.iter_rules():
        values = {
            "batch_id": batch_id,
            "file": "00000-a.jpg",
            "rest": "00000-a.jpg",
            "filename": "app.css",
            "run_id": batch_id,
        }
        path = bench.app.url_map.bind("localhost").build(rule.endpoint, {name: values[name] for name in rule.arguments})
        for method in sorted(rule.methods or ()):
            yield rule.endpoint, method, path


def send_endless(bench: WebBench, method: str, path: str, content_type: str | None, **headers: str) -> tuple[int, int]:
    """Sends a body without end in chunks, as gunicorn hands it over; returns the status and how much was read."""
    start = (
        b'--x\r\nContent-Disposition: form-data; name="token"; filename="a"\r\n\r\n'
        if content_type == MULTIPART
        else b""
    )
    body = Endless(start)
    response = bench.client.open(
        path,
        method=method,
        headers={"Sec-Fetch-Site": "same-origin", **headers},
        environ_overrides={
            **({"CONTENT_TYPE": content_type} if content_type else {}),
            "wsgi.input": io.BufferedReader(body, 8192),
            "wsgi.input_terminated": True,
        },
    )
    response.close()
    return response.status_code, body.read_bytes


@pytest.mark.parametrize("content_type", TYPES)
def test_no_route_reads_or_keeps_a_large_body_of_an_unauthenticated_client(
    content_type: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", _refuse_file)
    bench = WebBench(authentication="tokens", stranger_requests_per_minute=10_000, sign_ins_per_minute=10_000)
    for endpoint, method, path in requests_of(bench):
        status, read_bytes = send_endless(bench, method, path, content_type)
        assert read_bytes <= SMALL_BODY_BYTES + SLACK_BYTES, (endpoint, method)
        assert status != 500, (endpoint, method)


@pytest.mark.parametrize("content_type", TYPES)
def test_no_route_reads_more_than_its_limit(content_type: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", _refuse_file)
    bench = WebBench(authentication="tokens")
    token = bench.token("ada")
    for endpoint, method, path in requests_of(bench):
        limit = LIMITS.get(endpoint, DEFAULT)
        is_file = content_type == "image/png" and limit.files is Files.FORM_OR_BODY
        if is_file or (content_type == MULTIPART and limit.files is not Files.NONE):
            continue  # read to its end, but not kept: see test_web_multipart.py
        status, read_bytes = send_endless(bench, method, path, content_type, **token)
        assert read_bytes <= limit.max_bytes + SLACK_BYTES, (endpoint, method)
        assert status != 500, (endpoint, method)
        if content_type == MULTIPART and method != "OPTIONS":
            assert status == 415, (endpoint, method)


def _refuse_file(*_arguments: Any, **_options: Any) -> None:
    raise AssertionError("Flask writes a form's file to disk")


def test_every_limit_is_of_a_route_and_fits_into_the_memory_for_bodies() -> None:
    bench = WebBench()
    assert LIMITS.keys() <= {rule.endpoint for rule in bench.app.url_map.iter_rules()}
    for endpoint, limit in LIMITS.items():
        most = limit.json_memory_bytes(limit.max_bytes, limit.max_bytes)
        assert most <= bench.services.json_memory.limit_bytes, endpoint


def test_the_largest_requests_that_are_meant_fit_into_their_limits() -> None:
    batch_id = "20260101-000000-0123456789ab"
    name = "ä" * 2048
    bodies: dict[str, Any] = {
        "api_batches.create_batch": {
            "name": "ä" * 200,
            "webhook": {"url": "https://example.org/" + "a" * 1980, "secret": "whsec_" + "a" * 194},
            "announced": 100_000,
        },
        "api_images.plan_upload": {"files": [{"name": f"2026/a, b/{n}.jpg", "size_bytes": n} for n in range(100_000)]},
        "api_images.permit_uploads": {"files": [{"name": name, "size_bytes": 10**7} for _ in range(1000)]},
        "api_images.complete_uploads": {"keys": [f"{batch_id}/00000-{'a' * 900}" for _ in range(1000)]},
        "api_images.add_images": {"images": [{"name": name, "data": "a" * 20_000} for _ in range(1000)]},
    }
    for endpoint, body in bodies.items():
        text, limit = json.dumps(body).encode(), LIMITS.get(endpoint, DEFAULT)
        assert len(text) <= limit.max_bytes, endpoint
        assert not has_more_values(text, limit.max_json_values), endpoint


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'"",', b"[" * 100 + b"]" * 100 + b",", b'{"a":0},'])
def test_json_of_more_values_than_a_request_needs_is_not_parsed(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    body = b'{"keys": [' + unit * 40_000
    body = body[: 2 * 1024 * 1024 - 16].rstrip(b",") + b"]}"
    response = bench.client.post(
        f"/api/v1/batches/{batch_id}/uploads/complete", data=body, content_type="application/json"
    )
    assert response.status_code == 413
    assert json.loads(response.data)["detail"] == "the body has more than 2,000 values"
    assert bench.services.json_memory.held_bytes == 0


def test_strings_without_marks_between_them_end_the_count() -> None:
    assert has_more_values(b'""' * 1000, 10)


def _values(parsed: Any) -> int:
    if isinstance(parsed, (list, dict)):
        inner = list(parsed.values()) if isinstance(parsed, dict) else parsed
        return 1 + max(0, len(inner) - 1) + sum(_values(item) for item in inner)
    return 0


@given(
    st.recursive(
        st.text(max_size=8) | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
        max_leaves=20,
    ),
    st.booleans(),
)
@settings(max_examples=examples(0.6))
def test_values_are_counted_outside_of_texts(parsed: Any, ascii_only: bool) -> None:
    body, count = json.dumps([parsed], ensure_ascii=ascii_only).encode(errors="replace"), _values([parsed])
    assert has_more_values(body, count) is False
    assert has_more_values(body, count - 1) is True


def test_memory_for_large_json_is_reserved_while_a_request_uses_it_and_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = WebBench()
    batch_id, held = bench.create_batch(), []
    plan = bench.services.batches.plan

    def spy(*arguments: Any, **options: Any) -> Any:
        held.append(bench.services.json_memory.held_bytes)
        return plan(*arguments, **options)

    monkeypatch.setattr(bench.services.batches, "plan", spy)
    body = {"files": [{"name": f"{n}.jpg", "size_bytes": n} for n in range(5000)]}
    for _ in range(2):
        assert bench.client.post(f"/api/v1/batches/{batch_id}/plan", json=body).status_code == 200
    assert min(held) > 3 * len(json.dumps(body)) // 2
    assert bench.services.json_memory.held_bytes == 0


def test_a_large_body_waits_for_memory_and_a_small_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    monkeypatch.setattr(bench.services.json_memory, "_max_wait_seconds", 0.0)
    url = f"/api/v1/batches/{batch_id}/plan"
    with bench.services.json_memory.holding("bob", bench.services.json_memory.limit_bytes):
        large = bench.client.post(url, json={"files": [{"name": f"{n}.jpg", "size_bytes": n} for n in range(5000)]})
        assert (large.status_code, "Retry-After" in large.headers) == (503, True)
        assert bench.client.post(url, json={"files": [{"name": "a.jpg", "size_bytes": 1}]}).status_code == 200


def test_json_on_a_full_disk_is_refused_with_a_sentence() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    body = json.dumps({"images": [{"name": "a.jpg", "data": "A" * (FULL_DISK_BYTES + 4)}]})
    with full_disk(bench.app):
        response = bench.client.post(f"/api/v1/batches/{batch_id}/images", data=body, content_type="application/json")
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)
    assert "temporary folder" in json.loads(response.data)["detail"]


# --- a full disk ---------------------------------------------------------------------------------


def post(bench: WebBench, path: str, files: Sequence[File]) -> TestResponse:
    """Posts a form from memory; the test client would write a large one to a file and leave it open."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in files
    ]
    return bench.client.post(path, data=b"".join([*parts, b"--x--\r\n"]), content_type=MULTIPART)


@pytest.mark.parametrize("size_bytes", [FULL_DISK_BYTES + 1, FULL_DISK_BYTES + 100, 4 * FULL_DISK_BYTES])
def test_a_full_disk_costs_the_large_file_and_no_other(size_bytes: int) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    files = [("a.jpg", JPEG), ("large.jpg", bytes(size_bytes)), ("b.jpg", JPEG)]
    url = f"/api/v1/batches/{batch_id}/images?offset="
    with full_disk(bench.app):
        response = post(bench, f"{url}0", files)
    assert response.status_code == 200
    report = response.get_json()
    assert [entry["name"] for entry in report["accepted"]] == ["a.jpg", "b.jpg"]
    [lost] = report["not_stored"]
    assert (lost["name"], lost["position"], lost["code"]) == ("large.jpg", 1, "not_stored")
    assert post(bench, f"{url}1", files[1:2]).get_json()["rejected"], "with room again, it is stored or judged"
    assert SPOOL_MEMORY.held_bytes == 0


def test_where_nothing_could_be_stored_a_full_disk_is_503_with_the_lists() -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    with full_disk(bench.app):
        response = post(bench, f"/api/v1/batches/{batch_id}/images", [("large.jpg", bytes(2 * FULL_DISK_BYTES))])
        page = post(bench, "/batches", [("large.jpg", bytes(2 * FULL_DISK_BYTES))])
        single = bench.client.post("/api/v1/classify", data=bytes(2 * FULL_DISK_BYTES), content_type="image/png")
    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert [lost["code"] for lost in json.loads(response.data)["not_stored"]] == ["not_stored"]
    assert response.headers["Retry-After"]
    assert page.status_code == 503 and "large.jpg" in page.text
    assert single.status_code == 503


# --- what requests hold together -----------------------------------------------------------------


def test_an_owner_leaves_half_of_the_memory_to_others() -> None:
    budget = MemoryBudget(100, max_wait_seconds=0.0)
    first = budget.reserve("ada", 40)
    with pytest.raises(MemoryBusyError):
        budget.reserve("ada", 20)
    second = budget.reserve("bob", 60)
    with pytest.raises(MemoryBusyError):
        budget.reserve("eve", 1)
    second.shrink(10)
    budget.reserve("eve", 50).shrink(0)
    for reservation in (first, second, first):
        reservation.shrink(0)
    assert budget.held_bytes == 0


def test_a_waiting_request_goes_on_when_another_ends() -> None:
    budget = MemoryBudget(100, max_wait_seconds=60.0)
    held = budget.reserve("ada", 100)
    done = threading.Event()

    def wait() -> None:
        with budget.holding("bob", 100):
            done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    held.shrink(0)
    thread.join()
    assert done.is_set() and budget.held_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 80)), max_size=30))
@settings(max_examples=examples(0.6))
def test_no_order_of_requests_exceeds_the_limit(wanted: list[tuple[str, int]]) -> None:
    budget, held = MemoryBudget(100, max_wait_seconds=0.0), []
    for owner, size in wanted:
        try:
            held.append(budget.reserve(owner, size))
        except MemoryBusyError:
            if held:
                held.pop(0).shrink(0)
        assert budget.held_bytes <= 100
    for reservation in held:
        reservation.shrink(0)
    assert budget.held_bytes == 0


def test_small_files_are_in_memory_until_the_sum_is_too_large() -> None:
    budget = MemoryBudget(3 * SPOOL_BYTES // 2)
    files = [SpooledFile(budget) for _ in range(3)]
    for file in files:
        file.append(b"x" * SPOOL_BYTES)
    assert budget.held_bytes == SPOOL_BYTES, "the second and the third are on disk"
    files[0].append(b"x")
    assert budget.held_bytes == 0, "now the first is, too"
    for file in files:
        file.rewind()
        assert len(file.read()) >= SPOOL_BYTES
        file.close()
    assert budget.held_bytes == 0


def test_images_for_slow_viewers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    [stored] = bench.upload(batch_id, [("a.jpg", JPEG)], offset=0)["accepted"]
    path = f"/batches/{batch_id}/images/{stored['key'].partition('/')[2]}"
    memory = bench.services.image_memory
    monkeypatch.setattr(memory, "_max_wait_seconds", 0.0)
    bench.app.test_client_class = None
    response: TestResponse = bench.app.test_client().get(path, buffered=False)
    assert (response.status_code, memory.held_bytes) == (200, len(JPEG)), "while the client takes it"
    response.close()
    assert memory.held_bytes == 0
    with memory.holding("bob", memory.limit_bytes):
        assert bench.client.get(path).status_code == 503
    assert bench.client.get(path).status_code == 200 and memory.held_bytes == 0
    assert bench.client.get(path[:-5] + "x.jpg").status_code == 404 and memory.held_bytes == 0
