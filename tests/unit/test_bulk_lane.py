"""Bulk jobs in a worker: one part for each job, whatever fails, and never before an interactive job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app_tier import bulk_lane
from app_tier.bulk_job import MAX_TRIES
from app_tier.bulk_lane import MAX_RECEIVE_COUNT, BulkLane
from app_tier.quarantine import QuarantineError
from app_tier.worker import Worker, WorkerOptions
from aws.in_memory import (
    InMemoryBulkQueue,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryPhotoSource,
    InMemoryResultStore,
    InMemoryStateStore,
    ManualClock,
)
from core.batch_record import BatchRecord
from core.bulk_run import BulkJob, BulkRun, Part
from core.errors import DeniedError, NotFoundError
from core.jobs import ClassificationJob, image_key, new_job_id
from tests.unit.test_worker import BATCH, OPTIONS, Labeller, decode, until
from tests.waiting import PATIENCE_SECONDS

RUN = BulkRun("20260102-030405-0123456789ab", "photos", "", "labels", "out/")
VISIBILITY_TIMEOUT_SECONDS = 30


class Bench:
    """A worker with a bulk lane, and everything around it in memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, **options: Any) -> None:
        self.queue = InMemoryJobQueue(clock)
        self.bulk = InMemoryBulkQueue(clock, VISIBILITY_TIMEOUT_SECONDS, max_receive_count=10**9)
        self.images = InMemoryImageStore()
        self.images.create_batch(BATCH, BatchRecord())
        self.photos = InMemoryPhotoSource(1000)
        self.results = InMemoryResultStore()
        self.labels = InMemoryStateStore(bucket="labels")
        self.labeller = Labeller()
        self.stop = threading.Event()
        bulk_queue: Any = self.bulk
        sources: Any = self.photos
        outputs: Any = self.labels
        self.lane = BulkLane(
            bulk_queue,
            lambda bucket, pays: sources,
            lambda bucket: outputs,
            "test@1",
            VISIBILITY_TIMEOUT_SECONDS,
            0,
            clock,
        )
        fields = {name: getattr(OPTIONS, name) for name in OPTIONS.__slots__} | options
        stores: tuple[Any, Any, Any] = (self.queue, self.images, self.results)
        self.worker = Worker(*stores, decode, self.labeller, WorkerOptions(**fields), clock=clock, bulk=self.lane)

    def put(self, *bodies: str, part: int = 0) -> BulkJob:
        """Stores photos and enqueues a job for them."""
        keys = tuple(f"{part:03}-{position:03}-{body}.jpg" for position, body in enumerate(bodies))
        for key, body in zip(keys, bodies, strict=True):
            self.photos.photos[key] = body.encode()
        job = BulkJob.of(RUN, part, keys)
        self.bulk.send([job])
        return job

    def part(self, job: BulkJob) -> Part:
        return Part.decode(self.labels.objects[job.part_key].body)

    def labels_of(self, job: BulkJob) -> list[str]:
        """The best label, or the failure's code, of each image of a job."""
        return [i.predictions[0].label if i.failure is None else i.failure.code for i in self.part(job).images]

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.worker.run, args=(self.stop,))
        thread.start()
        try:
            yield
        finally:
            self.labeller.gate.set()
            self.stop.set()
            thread.join(10)
            assert not thread.is_alive(), "the worker did not stop"

    def work_off(self) -> None:
        """Runs the worker until no bulk job is left."""
        with self.running():
            until(lambda: not self.bulk.messages)


def test_each_job_becomes_one_part_in_the_order_of_its_keys() -> None:
    bench = Bench()
    jobs = [bench.put(*(f"label{number}" for number in range(40)), part=part) for part in range(3)]
    bench.work_off()
    for job in jobs:
        part = bench.part(job)
        assert [image.image for image in part.images] == list(job.keys)
        assert bench.labels_of(job) == [f"label{number}" for number in range(40)]
        assert (part.run_id, part.part, part.model) == (RUN.run_id, job.part, "test@1")
    assert bench.labels.count("put") == 3 and bench.worker.vitals().answered == 120
    assert not bench.results.objects, "answers are in the parts alone"
    assert max(bench.labeller.batch_sizes) > 1, "the images of a job share the interpreter's calls"


def test_a_queue_that_does_not_exist_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The stack of an earlier version has none; it may be there later, after an update."""
    monkeypatch.setattr(bulk_lane, "MAX_BACKOFF_SECONDS", 0.001)
    bench = Bench()
    bench.bulk.fail_next("receive", times=5, error=NotFoundError("receiving bulk jobs failed: NonExistentQueue"))
    job = bench.put("cat")
    bench.work_off()
    assert bench.labels_of(job) == ["cat"]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["no bulk jobs: receiving bulk jobs failed: NonExistentQueue"]


def test_an_image_that_cannot_be_classified_is_a_line_with_its_error() -> None:
    bench = Bench()
    job = bench.put("cat", "broken", "x" * 1001, "gone", "denied", "cut", "dog")
    del bench.photos.photos[job.keys[3]]
    bench.photos.fail_next("get", error=DeniedError("Access Denied"), where=lambda key: "denied" in key)
    bench.work_off()
    assert bench.labels_of(job) == ["cat", "broken", "too_large", "missing", "unreadable", "cut", "dog"]
    images = bench.part(job).images
    assert images[4].failure is not None and "Access Denied" in images[4].failure.sentence
    assert images[5].note == "cut off"
    assert (bench.worker.vitals().answered, bench.worker.vitals().failed) == (7, 4)


def test_a_job_whose_photo_cannot_be_fetched_now_is_delivered_again() -> None:
    bench = Bench(ManualClock())
    job = bench.put("cat", "dog")
    bench.photos.fail_next("get", times=MAX_TRIES, where=lambda key: "dog" in key)
    with bench.running():
        until(lambda: bench.lane.images_in_hand == 0 and bench.bulk.count("extend") == 1)
        assert not bench.labels.objects
    assert bench.bulk.messages[0].receive_count == 1 and bench.bulk.bulk_jobs == [job]


def test_a_photo_that_cannot_be_fetched_at_once_does_not_repeat_its_job() -> None:
    bench = Bench()
    job = bench.put("cat", "dog")
    bench.photos.fail_next("get", times=MAX_TRIES - 1, where=lambda key: "dog" in key)
    bench.work_off()
    assert bench.labels_of(job) == ["cat", "dog"] and bench.bulk.count("extend") == 0


def test_a_photo_that_can_never_be_fetched_is_a_failure_in_the_end() -> None:
    bench = Bench()
    job = bench.put("cat", "dog")
    bench.bulk.messages[0].receive_count = 3
    bench.photos.fail_next("get", times=100, where=lambda key: "dog" in key)
    bench.work_off()
    assert bench.labels_of(job) == ["cat", "unreadable"]


def test_an_image_that_crashes_its_decoder_is_a_failure_and_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has ended two workers; from its third delivery on, its images are decoded in another process."""
    bench = Bench()
    job = bench.put("cat", "killer", "dog")
    bench.bulk.messages[0].receive_count = 2
    in_quarantine = []

    def decode_apart(body: bytes) -> Any:
        in_quarantine.append(body)
        if body == b"killer":
            raise QuarantineError
        return decode(body)

    monkeypatch.setattr(bench.worker.stages.quarantine, "decode", decode_apart)
    bench.work_off()
    assert bench.labels_of(job) == ["cat", "gave_up", "dog"]
    assert sorted(in_quarantine) == [b"cat", b"dog", b"killer"]


def test_a_job_that_ends_every_worker_is_answered_without_being_tried() -> None:
    bench = Bench()
    job = bench.put("cat", "dog")
    bench.bulk.messages[0].receive_count = MAX_RECEIVE_COUNT
    bench.work_off()
    assert bench.labels_of(job) == ["gave_up", "gave_up"] and bench.photos.count("get") == 0


def test_a_part_that_cannot_be_stored_leaves_its_job_in_the_queue() -> None:
    bench = Bench(ManualClock())
    job = bench.put("cat")
    bench.labels.fail_next("put")
    with bench.running():
        until(lambda: bench.bulk.count("extend") == 1 and bench.lane.images_in_hand == 0)
    assert bench.bulk.bulk_jobs == [job] and not bench.labels.objects and bench.bulk.count("delete") == 0


def test_a_worker_that_stops_returns_its_job_at_once() -> None:
    bench = Bench(ManualClock())
    bench.labeller.gate.clear()
    job = bench.put(*["cat"] * 100)
    with bench.running():
        until(bench.labeller.begun.is_set)
        assert bench.worker.is_busy()
        bench.stop.set()
        bench.labeller.gate.set()
    assert bench.bulk.bulk_jobs == [job] and bench.bulk.messages[0].is_visible, "its timeout is not waited for"
    assert not bench.labels.objects


def test_few_images_of_a_job_are_in_memory_at_a_time() -> None:
    bench = Bench()
    bench.labeller.gate.clear()
    bench.put(*["cat"] * 200)
    with bench.running():
        until(bench.labeller.begun.is_set)
        until(lambda: bench.photos.count("get") == bench.worker.stages.capacity)
        assert bench.worker.stages.capacity < 20
        assert bench.worker.vitals().in_hand == 200


def test_interactive_jobs_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.labeller.gate.clear()
    fetching, may_fetch, get = threading.Event(), threading.Event(), bench.images.get

    def slow_get(key: str) -> bytes:
        fetching.set()
        may_fetch.wait(PATIENCE_SECONDS)
        return get(key)

    monkeypatch.setattr(bench.images, "get", slow_get)
    job = bench.put(*["cat"] * 200)
    with bench.running():
        begun = bench.worker.stages.capacity
        until(lambda: bench.photos.count("get") == begun)
        key = image_key(BATCH, 0, "dog.jpg")
        bench.images.put(key, b"dog", "dog.jpg")
        bench.queue.send([ClassificationJob(new_job_id(), BATCH, "test-input", key, "dog.jpg")])
        until(fetching.is_set)
        bench.labeller.gate.set()
        until(lambda: sum(bench.labeller.batch_sizes) >= begun)
        # One more may have begun while the interactive job was received.
        assert bench.photos.count("get") <= begun + 1, "no bulk image begins while an interactive job is in hand"
        may_fetch.set()
        until(lambda: key in bench.results.objects)
        until(lambda: job.part_key in bench.labels.objects)
    assert bench.labels_of(job) == ["cat"] * 200


@pytest.mark.parametrize("mark", ["_cancelled", "_SUCCESS"])
def test_jobs_of_a_run_that_is_over_are_discarded(mark: str) -> None:
    bench = Bench()
    job = bench.put("cat")
    assert mark in (job.cancelled_key.rpartition("/")[2], job.success_key.rpartition("/")[2])
    bench.labels.put(job.cancelled_key.replace("_cancelled", mark), b"")
    bench.work_off()
    assert not bench.photos.count("get") and job.part_key not in bench.labels.objects


def test_poison_is_deleted_and_what_may_not_be_read_is_no_mark() -> None:
    bench = Bench()
    bench.bulk.put_body("no job")
    job = bench.put("cat")
    bench.labels.fail_next("get", error=DeniedError("Access Denied"))
    bench.work_off()
    assert bench.labels_of(job) == ["cat"]


def test_the_lane_survives_a_queue_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_lane, "MAX_BACKOFF_SECONDS", 0.001)
    bench = Bench()
    bench.bulk.fail_next("receive", times=2)
    bench.bulk.fail_next("receive", times=1, error=RuntimeError("a bug"))
    job = bench.put("cat")
    bench.work_off()
    assert bench.labels_of(job) == ["cat"]


def test_the_visibility_of_a_job_in_hand_is_renewed() -> None:
    clock = ManualClock()
    bench = Bench(clock)
    bench.labeller.gate.clear()
    job = bench.put(*["cat"] * 3)
    with bench.running():
        until(bench.labeller.begun.is_set)
        for _ in range(5):
            clock.advance(VISIBILITY_TIMEOUT_SECONDS * 0.6)
            bench.lane.renew_visibility()
            assert bench.bulk.backlog().in_flight == 1
        clock.advance(21 * VISIBILITY_TIMEOUT_SECONDS)
        extended = bench.bulk.count("extend")
        bench.lane.renew_visibility()
        assert [argument for name, argument in bench.bulk.calls if name == "extend"][extended:] == [[]], "it hangs"
    assert job


def test_a_bulk_queue_that_cannot_be_counted_keeps_no_idle_worker() -> None:
    bench = Bench()
    bench.put("cat")
    bench.bulk.fail_next("backlog")
    assert [bench.lane.backlog().total for _ in range(2)] == [0, 1]
