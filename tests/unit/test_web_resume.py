"""Announced images, and uploads that are resumed: nothing is lost silently, sent twice or stored over another file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import InMemoryBatchIndex
from core.batch_record import ABANDONED_AFTER_SECONDS, BatchRecord
from tests.web import JPEG, WebBench, form, image_bytes
from web_tier.domain import batch_watcher
from web_tier.domain.batch_watcher import BatchWatcher
from web_tier.domain.batches import OPEN_SECONDS, BatchService
from web_tier.domain.upload_plan import ChosenFile, KnownImages, announce, plan_upload

PNG = image_bytes("PNG")
File = tuple[str, bytes]


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def folder(count: int) -> list[File]:
    """Files of one size and one base name, in folders: only their paths differ."""
    return [(f"trip/set_{number}/a.jpg", JPEG) for number in range(count)]


def create(bench: WebBench, **body: Any) -> str:
    response = bench.client.post("/api/v1/batches", json=body)
    assert response.status_code == 201, response.text
    return str(response.get_json()["batch_id"])


def counts(bench: WebBench, batch_id: str) -> tuple[int, int, bool, str]:
    found = bench.get(f"/api/v1/batches/{batch_id}")
    return found["accepted"], found["missing"], found["complete"], found["state"]


def plan(bench: WebBench, batch_id: str, files: list[File], **body: Any) -> dict[str, Any]:
    named = [{"name": name, "size_bytes": len(content)} for name, content in files]
    response = bench.client.post(f"/api/v1/batches/{batch_id}/plan", json={"files": named, **body})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def send(bench: WebBench, batch_id: str, file: File, position: int) -> str:
    """Sends a file as a page that resumes does; returns its key."""
    query = {"offset": position, "keep_others": "1"}
    response = bench.client.post(f"/api/v1/batches/{batch_id}/images", query_string=query, data=form([file]))
    report = response.get_json()
    return str((report["accepted"] + report["rejected"])[0]["key"])


def send_planned(bench: WebBench, batch_id: str, files: list[File], positions: list[int | None]) -> None:
    for file, position in zip(files, positions, strict=True):
        if position is not None:
            send(bench, batch_id, file, position)


def names(bench: WebBench, batch_id: str) -> list[str]:
    return [bench.images.name(stored.key) for stored in bench.images.list(batch_id)]


# --- announcements -------------------------------------------------------------------------------


def test_a_batch_is_complete_only_when_all_announced_images_have_come(bench: WebBench) -> None:
    batch_id = create(bench, announced=3)
    assert counts(bench, batch_id) == (0, 3, False, "queued")
    bench.upload(batch_id, [("a.jpg", JPEG), ("b.jpg", b"no image")], offset=0)
    bench.answer()
    assert counts(bench, batch_id) == (2, 1, False, "incomplete")
    assert bench.get(f"/api/v1/batches/{batch_id}/results")["missing"] == 1
    bench.upload(batch_id, [("c.jpg", JPEG)], offset=2)
    assert counts(bench, batch_id) == (3, 0, False, "classifying")
    bench.answer()
    assert counts(bench, batch_id) == (3, 0, True, "done")


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_batch_that_is_closed_or_cancelled_expects_no_more(bench: WebBench, end: str) -> None:
    batch_id = create(bench, announced=3)
    bench.upload(batch_id, folder(1), offset=0)
    bench.answer()
    for _repeated in range(2):
        assert bench.client.post(f"/api/v1/batches/{batch_id}/{end}").status_code == 200
    accepted, missing, complete, _state = counts(bench, batch_id)
    assert (accepted, missing, complete) == (1, 0, True)
    assert bench.get(f"/api/v1/batches/{batch_id}")["announced"] == 3
    assert bench.images.read_batch(batch_id).cancelled is (end == "cancel")


@pytest.mark.parametrize("announced", [-1, 100_001, "many"])
def test_an_announcement_that_is_no_count_is_refused(bench: WebBench, announced: object) -> None:
    assert bench.client.post("/api/v1/batches", json={"announced": announced}).status_code == 422


@pytest.mark.parametrize(
    ("record", "accepted", "changed_at", "missing"),
    [
        (BatchRecord(), 5, 0.0, 0),
        (BatchRecord(announced=9, announced_at=9_000.0), 5, 0.0, 4),
        (BatchRecord(announced=9, announced_at=9_000.0), 12, 0.0, 0),
        (BatchRecord(announced=9, announced_at=9_000.0, closed=True), 5, 0.0, 0),
        (BatchRecord(announced=9, announced_at=9_000.0, cancelled=True), 5, 0.0, 0),
        (BatchRecord(announced=9, announced_at=10_000.0 - ABANDONED_AFTER_SECONDS), 5, 0.0, 4),
        (BatchRecord(announced=9, announced_at=9_999.0 - ABANDONED_AFTER_SECONDS), 5, 0.0, 0),
        (BatchRecord(announced=9, announced_at=0.0), 5, 9_999.0, 4),
    ],
)
def test_how_many_images_are_missing(record: BatchRecord, accepted: int, changed_at: float, missing: int) -> None:
    assert record.missing(accepted, changed_at, now=10_000.0) == missing


def test_a_batch_whose_upload_was_given_up_is_complete_after_an_hour_for_viewers_too() -> None:
    bench = WebBench()
    now = [bench.clock()]
    monotonic = [0.0]
    with ThreadPoolExecutor(2) as pool:
        batches = BatchService(
            bench.images,  # type: ignore[arg-type]
            bench.results,  # type: ignore[arg-type]
            InMemoryBatchIndex(),  # type: ignore[arg-type]
            pool,
            lambda: monotonic[0],
            lambda: now[0],
        )
        batch_id = create(bench, announced=3)
        started_at = bench.clock()
        bench.images.update_batch(batch_id, lambda record: announce(record, 3, started_at))
        bench.upload(batch_id, folder(1), offset=0)
        bench.answer()
        for seconds, complete in ((0.0, False), (ABANDONED_AFTER_SECONDS, False), (ABANDONED_AFTER_SECONDS + 1, True)):
            now[0] = started_at + seconds
            assert batches.read(batch_id).complete is complete


def test_a_batch_whose_upload_has_paused_is_read_rarely(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = create(bench, announced=3)
    bench.upload(batch_id, folder(1), offset=0)
    bench.answer()
    pauses: list[float] = []

    def pause(watch: batch_watcher.Watch, seconds: float) -> None:
        pauses.append(seconds)
        watch.release(close=True)

    monkeypatch.setattr(batch_watcher.Watch, "pause", pause)
    watcher = BatchWatcher(bench.services.batches.read, lambda: None, 8)
    with watcher.watch(batch_id) as watch:
        snapshot = watch.wait(0, 60.0)
    assert snapshot is not None and snapshot.batch is not None and snapshot.batch.missing == 2
    # The in-memory clock is years behind, so the last image came long ago.
    assert pauses == [batch_watcher.IDLE_INTERVAL_SECONDS]


def test_an_announcement_costs_one_request_for_each_two_seconds_of_viewing() -> None:
    monotonic = [0.0]
    bench = WebBench(monotonic=lambda: monotonic[0])
    batch_id = create(bench, announced=3)
    bench.upload(batch_id, folder(1), offset=0)
    bench.images.calls.clear()
    for _second in range(10):
        monotonic[0] += 1.0
        bench.get(f"/api/v1/batches/{batch_id}")
    reads = [name for name, _argument in bench.images.calls if name == "read_batch"]
    assert len(reads) <= 10 / OPEN_SECONDS + 2  # and one of the owner


# --- plans ---------------------------------------------------------------------------------------


def test_the_rest_of_an_interrupted_upload_gets_its_own_positions_again(bench: WebBench) -> None:
    files = folder(10)
    batch_id = create(bench, announced=10)
    bench.upload(batch_id, files[:3], offset=0)
    bench.answer()
    bench.upload(batch_id, files[6:8], offset=6)
    found = plan(bench, batch_id, files)
    assert found == {"positions": [None, None, None, 3, 4, 5, None, None, 8, 9], "known": 5, "full": 0, "announced": 10}
    send_planned(bench, batch_id, files, found["positions"])
    assert names(bench, batch_id) == [name for name, _content in files]
    bench.answer()
    assert counts(bench, batch_id) == (10, 0, True, "done")
    assert plan(bench, batch_id, files)["known"] == 10


def test_a_file_of_the_same_name_and_another_size_is_new_and_so_is_a_second_of_two(bench: WebBench) -> None:
    batch_id = create(bench)
    bench.upload(batch_id, [("a.jpg", JPEG), ("text.jpg", b"no image"), ("b.jpg", JPEG)], offset=0)
    chosen = [("a.jpg", PNG), ("b.jpg", JPEG), ("b.jpg", JPEG), ("text.jpg", b"no image"), ("c/a.jpg", JPEG)]
    assert plan(bench, batch_id, chosen)["positions"] == [3, None, 4, None, 5]


def test_names_are_compared_as_they_are_stored(bench: WebBench) -> None:
    batch_id = create(bench)
    odd = "\\\\trip\\..\\\u202egpj.a\x01.jpg"
    bench.upload(batch_id, [(odd, JPEG)], offset=0)
    assert plan(bench, batch_id, [(odd, JPEG)])["known"] == 1


def test_files_beyond_the_limit_of_a_batch_are_counted() -> None:
    bench = WebBench(max_batch_images=4)
    batch_id = create(bench, announced=2)
    bench.upload(batch_id, folder(1), offset=0)
    found = plan(bench, batch_id, folder(6))
    assert found == {"positions": [None, 1, 2, 3, None, None], "known": 1, "full": 2, "announced": 4}


def test_resuming_a_closed_batch_opens_it(bench: WebBench) -> None:
    batch_id = create(bench, announced=3)
    bench.upload(batch_id, folder(1), offset=0)
    bench.answer()
    bench.client.post(f"/api/v1/batches/{batch_id}/close")
    assert plan(bench, batch_id, folder(3))["positions"] == [None, 1, 2]
    assert counts(bench, batch_id) == (1, 2, False, "incomplete")


def test_a_plan_for_a_cancelled_or_deleted_batch_is_refused(bench: WebBench) -> None:
    batch_id = create(bench, announced=3)
    bench.upload(batch_id, folder(1), offset=0)
    bench.client.post(f"/api/v1/batches/{batch_id}/cancel")
    body = {"files": [{"name": "a.jpg", "size_bytes": 1}]}
    assert bench.client.post(f"/api/v1/batches/{batch_id}/plan", json=body).status_code == 409
    bench.client.delete(f"/api/v1/batches/{batch_id}")
    for end in ("plan", "close"):
        assert bench.client.post(f"/api/v1/batches/{batch_id}/{end}", json=body).status_code == 404


@st.composite
def interrupted(draw: st.DrawFn) -> tuple[int, list[int], bool]:
    count = draw(st.integers(1, 30))
    return count, sorted(draw(st.sets(st.integers(0, count - 1)))), draw(st.booleans())


@given(interrupted())
def test_however_an_upload_was_interrupted_the_same_folder_completes_it(case: tuple[int, list[int], bool]) -> None:
    count, arrived, closed = case
    files = [ChosenFile(f"{number}.jpg", 5) for number in range(count)]
    known = KnownImages((files[position].name, 5) for position in arrived)
    missing_here = [not known.take(file) for file in files]
    record = BatchRecord(announced=count, closed=closed)
    found = plan_upload(missing_here, set(arrived), len(arrived), record, 10_000)
    assert found.positions == [None if position in arrived else position for position in range(count)]
    assert announce(record, found.announced, 1.0) == BatchRecord(announced=count, announced_at=1.0)
    assert found.known == len(arrived) and not found.full


@given(
    st.sets(st.integers(0, 40)), st.integers(0, 40), st.lists(st.booleans(), max_size=30), st.booleans(), st.booleans()
)
def test_a_plan_never_uses_a_position_twice_nor_announces_too_few(
    taken: set[int], announced: int, missing_here: list[bool], additional: bool, closed: bool
) -> None:
    record = BatchRecord(announced=announced, closed=closed)
    found = plan_upload(missing_here, taken, len(taken), record, 50, additional=additional)
    used = [position for position in found.positions if position is not None]
    assert not set(used) & taken and len(set(used)) == len(used) and all(position < 50 for position in used)
    assert len(used) + found.full == sum(missing_here)
    assert found.announced >= len(taken) + len(used)
    if found.additional:
        # What another upload is still about to send keeps its positions and stays announced.
        assert all(position >= announced for position in used)
        assert closed or found.announced >= announced + len(used)


@pytest.mark.parametrize(
    ("wanted", "known", "additional"), [(76, 0, False), (50, 24, False), (50, 0, True), (80, 0, True), (80, 1, False)]
)
def test_which_files_are_taken_for_the_rest(wanted: int, known: int, additional: bool) -> None:
    chosen = [False] * known + [True] * wanted
    found = plan_upload(chosen, set(range(24)), 24, BatchRecord(announced=100), 10_000)
    assert found.additional is additional
    assert found.announced == (100 + wanted if additional else max(100, 24 + wanted))


# --- collisions ----------------------------------------------------------------------------------


def test_a_file_never_replaces_another_one_at_its_position(bench: WebBench) -> None:
    batch_id = create(bench)
    bench.upload(batch_id, [("x/a.jpg", JPEG)], offset=0)
    for _repeated in range(2):
        assert send(bench, batch_id, ("x/a.jpg", JPEG), 0) == f"{batch_id}/00000-a.jpg"
    assert send(bench, batch_id, ("y/a.jpg", JPEG), 0) == f"{batch_id}/00001-a.jpg"
    assert send(bench, batch_id, ("x/a.jpg", PNG), 0) == f"{batch_id}/00002-a.jpg"
    assert names(bench, batch_id) == ["x/a.jpg", "y/a.jpg", "x/a.jpg"]


def test_a_refused_file_never_replaces_the_result_of_another_one(bench: WebBench) -> None:
    batch_id = create(bench)
    bench.upload(batch_id, [("x/a.jpg", b"")], offset=0)
    assert send(bench, batch_id, ("x/a.jpg", b""), 0) == f"{batch_id}/00000-a.jpg"
    assert send(bench, batch_id, ("y/a.jpg", b""), 0) == f"{batch_id}/00001-a.jpg"
    bench.results.put_garbage(f"{batch_id}/00002-a.jpg")
    assert send(bench, batch_id, ("z/a.jpg", b""), 2) == f"{batch_id}/00003-a.jpg"


def test_a_batch_without_room_reports_a_file_whose_position_is_taken() -> None:
    bench = WebBench(max_batch_images=1)
    batch_id = create(bench)
    bench.upload(batch_id, [("x/a.jpg", JPEG)], offset=0)
    query = {"offset": 0, "keep_others": "1"}
    data = form([("y/a.jpg", JPEG)])
    response = bench.client.post(f"/api/v1/batches/{batch_id}/images", query_string=query, data=data)
    assert [file["code"] for file in response.get_json()["not_stored"]] == ["batch_full"]


# --- without JavaScript --------------------------------------------------------------------------


def test_the_plain_form_adds_what_the_batch_lacks(bench: WebBench) -> None:
    files = folder(4)
    batch_id = create(bench, announced=4)
    bench.upload(batch_id, files[:2], offset=0)
    bench.answer()
    page = bench.client.get(f"/batches/{batch_id}").text
    assert "2 of 4 photos arrived; 2 are missing" in page and f'action="/batches/{batch_id}/close"' in page
    response = bench.client.post(f"/batches/{batch_id}/images", data=form(files))
    assert response.status_code == 303 and response.location.endswith(f"/batches/{batch_id}")
    assert names(bench, batch_id) == [name for name, _content in files]
    assert "are missing" not in bench.client.get(f"/batches/{batch_id}").text


def test_the_plain_form_reports_what_was_not_stored(bench: WebBench) -> None:
    batch_id = create(bench)
    bench.images.fail_next("put")
    response = bench.client.post(f"/batches/{batch_id}/images", data=form([("a.jpg", JPEG)]))
    assert response.status_code == 503 and "a.jpg" in response.text


def test_the_plain_form_closes_a_batch(bench: WebBench) -> None:
    batch_id = create(bench, announced=4)
    bench.upload(batch_id, folder(1), offset=0)
    bench.answer()
    assert bench.client.post(f"/batches/{batch_id}/close").status_code == 303
    page = bench.client.get(f"/batches/{batch_id}").text
    assert "All 1 answered" in page and "3 of 4 announced photos never arrived" in page


def test_the_plain_forms_of_an_unknown_batch_are_not_found(bench: WebBench) -> None:
    unknown = "20260101-000000-0123456789ab"
    for end, body in (("close", {}), ("images", form([("a.jpg", JPEG)]))):
        assert bench.client.post(f"/batches/{unknown}/{end}", data=body).status_code == 404
