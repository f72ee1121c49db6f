"""The worker against stores and a queue in memory: nothing lost, nothing doubled, whatever fails."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app_tier.decode import DecodedImage
from app_tier.metrics import to_metrics
from app_tier.quarantine import QuarantineError
from app_tier.stages import Pixels
from app_tier.statistics import Report
from app_tier.worker import Worker, WorkerOptions
from aws.in_memory import InMemoryImageStore, InMemoryJobQueue, InMemoryResultStore, ManualClock
from core.batch_record import BatchRecord
from core.errors import BrokenImageError, CloudError
from core.jobs import (
    ClassificationJob,
    ClassificationResult,
    Failure,
    Prediction,
    image_key,
    new_batch_id,
    new_job_id,
)
from tests.waiting import PATIENCE_SECONDS, wait_until

MAX_IMAGE_BYTES = 1000
BATCH = new_batch_id(datetime(2026, 1, 1, tzinfo=UTC))
OPTIONS = WorkerOptions(
    worker_id="i-test",
    model="test@1",
    visibility_timeout_seconds=30,
    receive_wait_seconds=0,
    io_threads=4,
    inference_batch_size=8,
    max_jobs_in_hand=30,
    shutdown_grace_seconds=5.0,
)


def decode(body: bytes) -> DecodedImage:
    """An "image" is text: the label that it shall get, or a fault to play."""
    if body == b"broken":
        raise BrokenImageError
    if body == b"bug":
        raise RuntimeError("a decoder's bug")
    return DecodedImage(np.frombuffer(body, np.uint8), "cut off" if body == b"cut" else "")


class Labeller:
    """Reads the label out of the pixels; can be made to wait and to fail."""

    parallelism = 1

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []
        self.failures_left = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def classify(self, images: Sequence[Pixels]) -> list[tuple[Prediction, ...]]:
        self.begun.set()
        self.gate.wait(PATIENCE_SECONDS)
        self.batch_sizes.append(len(images))
        if self.failures_left:
            self.failures_left -= 1
            raise RuntimeError("the interpreter failed")
        return [(Prediction(image.tobytes().decode(), 0.9),) for image in images]


class Bench:
    """A worker with everything around it in memory."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        fleet_running_since: float = 0.0,
        respond: Callable[[ClassificationResult], None] = lambda result: None,
        **options: Any,
    ) -> None:
        self.clock = clock
        self.queue = InMemoryJobQueue(clock)
        self.images = InMemoryImageStore(max_image_bytes=MAX_IMAGE_BYTES)
        self.images.create_batch(BATCH, BatchRecord())
        self.results = InMemoryResultStore()
        self.labeller = Labeller()
        self.stop = threading.Event()
        fields = {name: getattr(OPTIONS, name) for name in OPTIONS.__slots__} | options
        stores: tuple[Any, Any, Any] = (self.queue, self.images, self.results)
        self.worker = Worker(
            *stores,
            decode,
            self.labeller,
            WorkerOptions(**fields),
            wall_clock=clock,
            fleet_running_since=fleet_running_since,
            respond=respond,
        )

    def upload(self, *bodies: str, start: int = 0) -> list[str]:
        keys = []
        for position, body in enumerate(bodies, start):
            name = f"{body}.jpg"
            key = image_key(BATCH, position, name)
            self.images.put(key, body.encode(), name)
            self.queue.send([ClassificationJob(new_job_id(), BATCH, "test-input", key, name)])
            keys.append(key)
        return keys

    def line(self, key: str) -> str:
        return self.results.line(key)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.worker.run, args=(self.stop,))
        thread.start()
        try:
            yield
        finally:
            self.labeller.gate.set()
            self.stop.set()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "the worker did not stop"


def until(condition: Callable[..., bool]) -> None:
    wait_until(condition, "waited in vain")


def test_every_job_is_answered_and_deleted() -> None:
    bench = Bench()
    keys = bench.upload(*(f"label{number}" for number in range(100)))
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert [bench.line(key) for key in keys] == [f"label{n}.jpg, label{n}" for n in range(100)]
    assert bench.results.count("put") == 100
    assert max(bench.labeller.batch_sizes) <= 8 and sum(bench.labeller.batch_sizes) == 100


def test_results_are_stored_in_packs_and_each_job_is_deleted() -> None:
    bench = Bench(results_per_object=8)
    bodies = [f"label{number}" for number in range(38)]
    keys = bench.upload(*bodies, "broken", "cut")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert [bench.line(key) for key in keys[:38]] == [f"{body}.jpg, {body}" for body in bodies]
    assert bench.line(keys[38]).startswith("broken.jpg, error: ") and bench.line(keys[39]) == "cut.jpg, cut"
    packs = [argument for method, argument in bench.results.calls if method == "put_together"]
    assert sum(map(len, packs)) + bench.results.count("put") == 40
    assert len(packs) + bench.results.count("put") < 20 and max(map(len, packs)) <= 8


def test_a_pack_that_cannot_be_stored_is_delivered_again_and_one_that_is_too_long_is_taken_apart() -> None:
    bench = Bench(results_per_object=8)
    bench.results.fail_next("put_together", times=1)
    bench.results.fail_next("put_together", times=1, error=ValueError("too long"))
    keys = bench.upload(*(f"label{number}" for number in range(30)))
    with bench.running():
        until(lambda: bench.queue.count("extend") > 0)
        until(
            lambda: (
                bench.queue.release([message.receipt_handle for message in bench.queue.messages])
                or not bench.queue.jobs
            )
        )
    assert [bench.line(key) for key in keys] == [f"label{n}.jpg, label{n}" for n in range(30)]
    assert bench.results.count("put_together") > 2


def test_a_worker_that_stops_stores_what_it_has_answered() -> None:
    bench = Bench(results_per_object=10)
    keys = bench.upload(*(f"label{number}" for number in range(9)))
    with bench.running():
        until(lambda: bool(bench.results.objects))
    left = {job.key for job in bench.queue.jobs}
    assert left.isdisjoint(bench.results.objects), "what is stored is acknowledged"
    assert left | set(bench.results.objects) == set(keys)


def test_results_say_how_long_they_took_and_with_what() -> None:
    clock = ManualClock()
    bench = Bench(clock, fleet_running_since=clock() + 3)
    keys = bench.upload("beagle", "broken")
    clock.advance(5)
    with bench.running():
        until(lambda: not bench.queue.jobs)
    for key in keys:
        took = bench.results.get(key).response_time
        assert took is not None
        assert (took.sent_at, took.seconds_booting, took.seconds_total) == pytest.approx((clock() - 5, 3, 5))
        stages = bench.results.get(key).stage_milliseconds
        assert {"fetch", "decode"} <= set(stages), "also of an image that cannot be decoded"
        assert took.seconds_classifying == pytest.approx(sum(stages.values()) / 1000, abs=1e-3)


def test_results_say_who_answered_with_what() -> None:
    bench = Bench()
    (key,) = bench.upload("beagle")
    with bench.running():
        until(lambda: key in bench.results.objects)
    result = bench.results.get(key)
    assert (result.worker_id, result.model, result.label) == ("i-test", "test@1", "beagle")
    assert set(result.stage_milliseconds) == {"fetch", "decode", "classify"}


def test_an_image_above_the_limit_is_answered_without_being_fetched() -> None:
    bench = Bench()
    key, _other = bench.upload("huge", "church")
    bench.images.put(key, bytes(MAX_IMAGE_BYTES + 1), "huge.jpg")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert bench.line(key) == "huge.jpg, error: the file is larger than the limit"


def test_a_broken_image_is_answered_at_once_and_the_others_go_on() -> None:
    bench = Bench()
    good, broken, other = bench.upload("beagle", "broken", "church")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert bench.line(broken) == "broken.jpg, error: the image is damaged or incomplete"
    assert bench.line(good) == "beagle.jpg, beagle" and bench.line(other) == "church.jpg, church"


def test_a_remark_on_an_incomplete_file_is_part_of_its_result() -> None:
    bench = Bench()
    cut, whole = bench.upload("cut", "beagle")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert (bench.results.get(cut).label, bench.results.get(cut).note) == ("cut", "cut off")
    assert bench.results.get(whole).note == ""


def test_an_image_that_is_gone_is_answered_with_a_failure() -> None:
    bench = Bench()
    (key,) = bench.upload("beagle")
    del bench.images.objects[key]
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert bench.line(key) == "beagle.jpg, error: the uploaded image is no longer stored"


def test_a_named_image_is_answered_under_its_name_and_with_a_failure_if_it_is_gone() -> None:
    bench = Bench()
    bench.images.put("a.jpg", b"beagle", "a.jpg")
    jobs = [ClassificationJob(new_job_id(), "", "test-input", name, name) for name in ("a.jpg", "b.jpg")]
    bench.queue.send(jobs)
    with bench.running():
        until(lambda: not bench.queue.jobs)
    bodies = {key: stored.body for key, stored in bench.results.objects.items()}
    assert bodies == {"a": b"beagle", "b": b"error: the uploaded image is no longer stored"}


def test_a_result_is_sent_after_it_is_stored_and_before_its_job_is_deleted() -> None:
    seen: list[tuple[str | None, bool, int]] = []

    def respond(result: ClassificationResult) -> None:
        seen.append((result.label, bench.results.exists(result.key), len(bench.queue.jobs)))
        if len(seen) == 1:
            raise CloudError("SQS is away")

    bench = Bench(respond=respond)
    bench.upload("beagle")
    with bench.running():
        until(lambda: bench.queue.count("extend") > 0)
        bench.queue.release([message.receipt_handle for message in bench.queue.messages])
        until(lambda: not bench.queue.jobs)
    assert seen == [("beagle", True, 1)] * 2


def test_an_image_that_is_gone_never_takes_the_place_of_an_answer() -> None:
    """A cancelled batch has its answers already, and its jobs are still in the queue."""
    bench = Bench()
    keys = bench.upload("beagle", "church")
    for key in keys:
        bench.results.put(ClassificationResult(key, "x.jpg", failure=Failure("cancelled", "cancelled")))
        del bench.images.objects[key]
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert [bench.line(key) for key in keys] == ["x.jpg, error: cancelled"] * 2


def test_a_deleted_batch_gets_no_answers() -> None:
    bench = Bench()
    bench.upload("beagle")
    bench.images.objects.clear()
    bench.images.batches.clear()
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert not bench.results.objects


def test_a_missing_image_waits_while_it_is_unknown_whether_its_batch_was_deleted() -> None:
    bench = Bench()
    bench.upload("beagle")
    bench.images.objects.clear()
    bench.images.fail_next("has_batch", math.inf)
    with bench.running():
        until(lambda: bench.queue.count("extend") > 0)
    assert not bench.results.objects


def hidden_seconds(bench: Bench) -> float:
    return min(message.visible_at_seconds for message in bench.queue.messages) - bench.clock()


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda bench: bench.images.fail_next("get", math.inf), id="image cannot be fetched"),
        pytest.param(lambda bench: bench.results.fail_next("put", math.inf), id="result cannot be stored"),
        pytest.param(lambda bench: setattr(bench.labeller, "failures_left", 9), id="interpreter fails"),
        pytest.param(lambda bench: bench.images.fail_next("get", math.inf, ValueError("bug")), id="bug on the way"),
    ],
)
def test_trouble_with_the_cloud_brings_the_job_back_later(break_it: Callable[[Bench], None]) -> None:
    bench = Bench()
    bench.upload("beagle")
    break_it(bench)
    with bench.running():
        until(lambda: bench.queue.count("extend") > 0)
        assert len(bench.queue.jobs) == 1 and not bench.results.objects
        assert 1 < hidden_seconds(bench) <= 2, "the first retry comes after two seconds, not after the whole timeout"


def test_one_failing_image_does_not_take_its_batch_along() -> None:
    bench = Bench()
    keys = bench.upload("a", "bug", "c")
    with bench.running():
        until(lambda: len(bench.results.objects) == 2)
    assert keys[1] not in bench.results.objects and len(bench.queue.jobs) == 1


def put_notification(bench: Bench, key: str, event: str = "ObjectCreated:Put") -> None:
    photo = {"bucket": {"name": "test-input"}, "object": {"key": key, "eTag": "0"}}
    bench.queue.put_body(json.dumps({"Records": [{"eventName": event, "s3": photo}]}))


def test_a_dropped_photo_is_answered_under_its_key() -> None:
    bench = Bench()
    for key, body in (("drop/cats/a b.jpg", b"tabby"), ("drop/broken.jpg", b"broken")):
        bench.images.put(key, body, "")
    put_notification(bench, "drop%2Fcats%2Fa+b.jpg")
    put_notification(bench, "drop/broken.jpg")
    with bench.running():
        until(lambda: not bench.queue.messages)
    assert bench.line("drop/cats/a b.jpg") == "cats/a b.jpg, tabby"
    assert bench.line("drop/broken.jpg") == "broken.jpg, error: the image is damaged or incomplete"


def test_notifications_that_ask_for_nothing_are_deleted_without_an_answer() -> None:
    bench = Bench()
    bench.queue.put_body('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "test-input"}')
    put_notification(bench, "drop/a.jpg", "ObjectRemoved:Delete")
    # It was deleted before it was classified.
    put_notification(bench, "drop/gone.jpg")
    (key,) = bench.upload("beagle")
    with bench.running():
        until(lambda: not bench.queue.messages)
    assert list(bench.results.objects) == [key]


def test_poison_never_crashes_the_worker_and_is_left_to_the_dead_letter_queue() -> None:
    bench = Bench()
    bench.queue.put_body("not a job")
    keys = bench.upload("beagle")
    with bench.running():
        until(lambda: keys[0] in bench.results.objects and bench.queue.count("extend") > 0)
    assert len(bench.queue.messages) == 1


def test_a_result_that_cannot_be_acknowledged_is_stored_all_the_same() -> None:
    bench = Bench()
    bench.queue.fail_next("delete", math.inf)
    (key,) = bench.upload("beagle")
    with bench.running():
        until(lambda: bench.queue.count("delete") > 0)
    assert bench.line(key) == "beagle.jpg, beagle" and len(bench.queue.jobs) == 1


def test_result_is_stored_before_its_job_is_deleted() -> None:
    bench = Bench()
    order: list[str] = []
    put, delete = bench.results.put, bench.queue.delete
    bench.results.put = lambda result, **_: (put(result), order.append("put"))[0]
    bench.queue.delete = lambda receipt_handles: (order.append("delete"), delete(receipt_handles))[1]
    bench.upload("beagle")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert order == ["put", "delete"]


def test_on_stop_what_the_interpreter_has_not_begun_is_released_at_once() -> None:
    bench = Bench(inference_batch_size=1)
    bench.labeller.gate.clear()
    bench.upload(*(f"l{n}" for n in range(20)))
    with bench.running():
        until(lambda: bench.images.count("get") >= 20 and bench.labeller.begun.is_set())
        bench.stop.set()
        bench.labeller.gate.set()
    answered = len(bench.results.objects)
    assert 1 <= answered <= 2, "what the interpreter held is finished"
    backlog = bench.queue.backlog()
    assert (backlog.visible, backlog.in_flight) == (20 - answered, 0)


def test_never_more_in_hand_than_allowed() -> None:
    bench = Bench(max_jobs_in_hand=5)
    bench.labeller.gate.clear()
    bench.upload(*(f"l{n}" for n in range(20)))
    with bench.running():
        until(lambda: bench.queue.backlog().in_flight == 5)
        time.sleep(0.1)
        assert bench.queue.backlog().in_flight == 5


def test_work_that_takes_long_stays_hidden_by_a_fixed_window() -> None:
    clock = ManualClock()
    bench = Bench(clock, visibility_timeout_seconds=1)
    bench.queue.visibility_timeout_seconds = 1
    bench.labeller.gate.clear()
    bench.upload("beagle")
    with bench.running():
        until(lambda: bench.queue.backlog().in_flight == 1)
        for _ in range(4):
            renewals = bench.queue.count("extend")
            until(lambda before=renewals: bench.queue.count("extend") > before)
            assert hidden_seconds(bench) <= 1
            clock.advance(0.9)
            assert bench.queue.backlog().visible == 0
        bench.labeller.gate.set()
        until(lambda: not bench.queue.jobs)
    assert bench.queue.count("receive") > 0 and bench.results.count("put") == 1


def test_a_queue_that_fails_now_and_then_is_asked_again() -> None:
    bench = Bench()
    bench.queue.fail_next("receive", 2)
    (key,) = bench.upload("beagle")
    with bench.running():
        until(lambda: key in bench.results.objects)


def test_a_worker_is_idle_while_it_waits_for_jobs_and_only_then() -> None:
    bench = Bench()
    assert bench.worker.idle_seconds() == 0.0, "it has not begun to receive"
    bench.labeller.gate.clear()
    bench.upload("beagle")
    with bench.running():
        assert bench.labeller.begun.wait(PATIENCE_SECONDS)
        assert bench.worker.idle_seconds() == 0.0
        bench.labeller.gate.set()
        until(lambda: bench.worker.idle_seconds() > 0.05)
        bench.queue.fail_next("receive", math.inf)
        until(lambda: bench.worker.idle_seconds() == 0.0)


def test_a_queue_that_cannot_be_reached_for_a_minute_ends_the_worker() -> None:
    bench = Bench()
    bench.queue.fail_next("receive", math.inf)
    times = iter(range(0, 10_000, 50))
    stores: tuple[Any, Any, Any] = (bench.queue, bench.images, bench.results)
    worker = Worker(
        *stores,
        decode,
        bench.labeller,
        OPTIONS,
        clock=lambda: float(next(times)),
    )
    with pytest.raises(CloudError):
        worker.run(threading.Event())


def test_an_idle_worker_leaves_by_itself_and_says_it_was_not_stopped() -> None:
    bench = Bench(idle_shutdown_seconds=0.05)
    assert bench.worker.run(threading.Event()) is False


def test_a_worker_stays_while_others_have_work_in_flight() -> None:
    bench = Bench(idle_shutdown_seconds=0.05)
    bench.upload("beagle")
    bench.queue.receive(1, 0)  # another worker holds it
    with bench.running():
        time.sleep(0.5)
        assert not bench.stop.is_set()
        bench.queue.purge()
        until(bench.stop.is_set)


def test_what_came_back_twice_is_decoded_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    decoded: list[bytes] = []
    monkeypatch.setattr(bench.worker.stages.quarantine, "decode", lambda body: (decoded.append(body), decode(body))[1])
    (key,) = bench.upload("suspect")
    bench.queue.messages[0].receive_count = 2
    bench.upload("fresh", start=1)
    with bench.running():
        until(lambda: not bench.queue.jobs)
    assert decoded == [b"suspect"] and bench.line(key) == "suspect.jpg, suspect"


def test_a_suspect_that_kills_its_decoder_comes_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def die(body: bytes) -> Pixels:
        raise QuarantineError

    monkeypatch.setattr(bench.worker.stages.quarantine, "decode", die)
    bench.upload("killer")
    bench.queue.messages[0].receive_count = 3
    with bench.running():
        until(lambda: bench.queue.count("extend") > 0)
        assert hidden_seconds(bench) <= 1
    assert not bench.results.objects


def test_the_worker_reports_its_speed() -> None:
    bench = Bench()
    reports: list[Report] = []
    bench.worker._on_report = reports.append
    bench.upload("a", "broken", "c")
    with bench.running():
        until(lambda: not bench.queue.jobs)
    (report,) = reports
    assert (report.answered, report.failed) == (3, 1)
    assert 0 < report.mean_service_seconds < 1 and report.images_per_second > 0
    assert "3 answered (1 failed)" in report.line()
    assert all(metric.value >= 0 and metric.unit for metric in to_metrics(report).values())


def test_unexpected_exceptions_end_neither_renewals_nor_deletions() -> None:
    bench = Bench(visibility_timeout_seconds=1)
    bench.labeller.gate.clear()
    bench.queue.fail_next("extend", error=RuntimeError("a fault"))
    bench.queue.fail_next("delete", error=RuntimeError("a fault"))
    keys = bench.upload("beagle", "church")
    with bench.running():
        until(lambda: bench.queue.count("extend") >= 3)
        bench.labeller.gate.set()
        until(lambda: not bench.queue.jobs)
    assert all(key in bench.results.objects for key in keys)


def test_a_model_that_returns_too_few_answers_is_asked_again() -> None:
    bench = Bench()
    classify, short = bench.labeller.classify, [True]

    def too_few(images: Sequence[Pixels]) -> list[tuple[Prediction, ...]]:
        return classify(images)[1:] if short and short.pop() else classify(images)

    bench.labeller.classify = too_few
    keys = bench.upload("beagle", "church")
    with bench.running():
        until(lambda: all(key in bench.results.objects for key in keys))
