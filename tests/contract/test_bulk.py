"""The queue and the records of bulk runs, and the listing of any bucket, on the embedded cloud and in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aws.buckets import ImageStore
from aws.bulk_buckets import PhotoSource
from aws.bulk_queue import BulkQueue, ReceivedBulkJob
from aws.bulk_runs import BulkRuns
from aws.in_memory import InMemoryPhotoSource
from aws.queue import Backlog
from aws.state import StateStore
from core.bulk_run import BulkJob, BulkRun, Status
from core.errors import ArgumentError, ImageTooLargeError, NotFoundError
from core.object_keys import ACTIVE_BULK_RUNS
from tests.contract.conftest import IN_MEMORY, MAX_IMAGE_BYTES
from tests.waiting import wait_until

RUN = BulkRun("20260102-030405-0123456789ab", "photos", "2026/", "labels", "out/")
KEYS = ["2025/a.jpg", "2026/a b.jpg", "2026/sub/ü 猫.jpg", "2026/z", "2027/a.jpg"]
OTHER = dataclasses.replace(RUN, run_id="20260102-030406-0123456789ab")


def take(queue: BulkQueue) -> ReceivedBulkJob:
    received: list[ReceivedBulkJob] = []

    def receive() -> bool:
        received.extend(filter(None, [queue.receive(1)]))
        return bool(received)

    wait_until(receive, "no bulk job was received")
    return received[0]


# --- the queue -----------------------------------------------------------------------------------


def test_large_jobs_are_sent_and_received_one_at_a_time(bulk_queue: BulkQueue) -> None:
    keys = tuple(f"{number:03} 猫 {'x' * 1000}" for number in range(55))
    sent = [BulkJob.of(RUN, part, keys) for part in range(9)]
    assert bulk_queue.send(iter(sent)) == 9, "more than one request may have"
    received = [take(bulk_queue) for _ in range(9)]
    assert sorted((delivery.job.part, delivery.job.keys == keys) for delivery in received if delivery.job) == [
        (part, True) for part in range(9)
    ]
    assert bulk_queue.receive(0) is None
    assert bulk_queue.backlog() == Backlog(0, 9)
    bulk_queue.delete([delivery.receipt_handle for delivery in received])
    assert bulk_queue.backlog() == Backlog(0, 0)


def test_a_released_job_is_delivered_again(bulk_queue: BulkQueue) -> None:
    bulk_queue.send([BulkJob.of(RUN, 0, ("\ufffe\uffff\x01\n",))])
    first = take(bulk_queue)
    bulk_queue.release([first.receipt_handle])
    again = take(bulk_queue)
    assert (first.receive_count, again.receive_count) == (1, 2)
    assert again.job == first.job == BulkJob.of(RUN, 0, ("\ufffe\uffff\x01\n",))


# --- the records ---------------------------------------------------------------------------------


@pytest.fixture
def runs(store: StateStore) -> BulkRuns:
    output: Any = store
    return BulkRuns(store, lambda bucket: output)


def test_runs_are_started_listed_changed_and_ended(runs: BulkRuns) -> None:
    runs.start(RUN)
    runs.start(OTHER)
    assert runs.active_ids() == [RUN.run_id, OTHER.run_id]
    assert list(runs.list()) == [OTHER, RUN]
    changed = runs.update(RUN.run_id, lambda run: dataclasses.replace(run, sent_segments=5))
    assert changed == runs.get(RUN.run_id) == dataclasses.replace(RUN, sent_segments=5)
    runs.end(RUN.run_id)
    assert (runs.active_ids(), len(runs.ids())) == ([OTHER.run_id], 2)


def test_a_run_is_cancelled_and_resumed(runs: BulkRuns, store: StateStore) -> None:
    runs.start(RUN)
    assert runs.cancel(RUN.run_id, 7.0).status is Status.CANCELLED
    assert runs.active_ids() == [] and store.get("out/_cancelled") is not None
    with pytest.raises(ArgumentError, match="cancelled already"):
        runs.cancel(RUN.run_id, 8.0)
    assert runs.resume(RUN.run_id) == RUN
    assert runs.active_ids() == [RUN.run_id] and store.get("out/_cancelled") is None


@pytest.mark.parametrize("run_id", [RUN.run_id, "", "x", "../x"])
def test_an_unknown_run_is_reported(runs: BulkRuns, run_id: str) -> None:
    for request in (runs.get, runs.cancel, runs.resume):
        with pytest.raises(NotFoundError, match="there is no bulk run"):
            request(run_id)


def test_an_output_belongs_to_one_run(runs: BulkRuns) -> None:
    runs.claim_output(RUN)
    runs.claim_output(RUN)
    with pytest.raises(ArgumentError, match=f"holds the output of another run \\({RUN.run_id}\\)"):
        runs.claim_output(OTHER)


def test_what_is_no_record_is_left_out(runs: BulkRuns, store: StateStore) -> None:
    runs.start(RUN)
    store.put(f"controller/bulk/runs/{OTHER.run_id}.json", b"[" * 5000)
    store.put("controller/bulk/active/readme.txt", b"")
    assert list(runs.list()) == [RUN]
    assert [ACTIVE_BULK_RUNS.name_of(stored.key) for stored in store.list(ACTIVE_BULK_RUNS)] == runs.active_ids()


# --- any bucket ----------------------------------------------------------------------------------


@pytest.fixture
def source(side: str, request: pytest.FixtureRequest) -> PhotoSource | InMemoryPhotoSource:
    """A source with some photos."""
    if side == IN_MEMORY:
        memory = InMemoryPhotoSource(MAX_IMAGE_BYTES)
        memory.photos.update(dict.fromkeys(reversed(KEYS), b"x" * MAX_IMAGE_BYTES), large=b"x" * (MAX_IMAGE_BYTES + 1))
        return memory
    images: ImageStore = request.getfixturevalue("embedded_images")
    for key in reversed(KEYS):
        images.put(key, b"x" * MAX_IMAGE_BYTES, key)
    images.put("large", b"x" * (MAX_IMAGE_BYTES + 1), "large")
    return PhotoSource(request.getfixturevalue("clients")["s3"], images.bucket, MAX_IMAGE_BYTES, requester_pays=True)


def test_any_keys_are_listed_in_order_from_anywhere(source: PhotoSource) -> None:
    assert list(source.list_keys("2026/")) == KEYS[1:4]
    assert list(source.list_keys("2026/", KEYS[1])) == KEYS[2:4]
    assert list(source.list_keys("")) == [*KEYS, "large"]


def test_photos_are_fetched_up_to_the_limit(source: PhotoSource) -> None:
    assert source.get(KEYS[2]) == b"x" * MAX_IMAGE_BYTES
    with pytest.raises(ImageTooLargeError):
        source.get("large")
    with pytest.raises(NotFoundError):
        source.get("2026/none.jpg")
