"""Photos that are put into the bucket are answered: S3's notifications are jobs, and the sweep finds the others."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.in_memory import InMemoryImageStore, InMemoryJobQueue, InMemoryResultStore, ManualClock
from cli.watch import print_results
from controller.housekeeping.dropped_photos import DroppedPhotos
from controller.housekeeping.janitor import LOOK_BACK, OVERTAKEN_BY
from core.dropped_photos import decode_notification, job_of
from core.errors import DecodeError
from core.jobs import ClassificationJob, ClassificationResult, Prediction
from core.object_keys import DROPPED, MAX_KEY_BYTES
from core.periodic_task import RoundError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MIN_AGE_SECONDS = 60
# S3 allows any text in UTF-8.
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda name: DROPPED.owns(f"drop/{name}")
)


def notification(key: str, event: str = "ObjectCreated:Put", etag: str = "0123", bucket: str = "test-input") -> str:
    """A message as S3 sends it, with more fields than are read."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-01T12:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AROAEXAMPLE:alice"},
        "requestParameters": {"sourceIPAddress": "198.51.100.7"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "drop",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A1"}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": {"key": quote_plus(key), "size": 1024, "eTag": etag, "sequencer": "0055AED6DCD90281E5"},
        },
    }
    return json.dumps({"Records": [record]})


TEST_EVENT = json.dumps(
    {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2026-01-01T12:00:00.000Z",
        "Bucket": "test-input",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }
)


# --- notifications -------------------------------------------------------------------------------


@given(names)
def test_a_notification_is_a_job_for_the_photo_whatever_its_key(name: str) -> None:
    job = decode_notification(notification(f"drop/{name}"))
    assert job is not None
    assert (job.bucket, job.key, job.batch_id) == ("test-input", f"drop/{name}", "drop")
    assert ClassificationJob.decode(job.encode()) == job, "it can be sent again, as from the dead-letter queue"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("drop/photo.jpg", "photo.jpg"),
        ("drop/cats/a b+c%20d&e=ä.jpg", "cats/a b+c%20d&e=ä.jpg"),
        ("drop/../../etc/passwd", "etc/passwd"),
        ("drop/2026/🐈.jpg", "2026/🐈.jpg"),
        ("drop//x.jpg", "x.jpg"),
        ("drop/a\nb.jpg", "a\ufffdb.jpg"),
        ("drop/" + "x" * (MAX_KEY_BYTES - 5), "x" * (MAX_KEY_BYTES - 5)),
    ],
)
def test_its_name_is_the_path_below_the_prefix(key: str, name: str) -> None:
    job = decode_notification(notification(key))
    assert job is not None and (job.key, job.name) == (key, name)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TEST_EVENT, id="the test event"),
        pytest.param(notification("drop/a.jpg", "ObjectRemoved:Delete"), id="a deletion"),
        pytest.param(notification("drop/"), id="a folder"),
        pytest.param(notification("drop/cats/"), id="a folder in it"),
        pytest.param(notification("20260101-120000-0123456789ab/00001-a.jpg"), id="an upload of the web tier"),
        pytest.param(notification("photo.jpg"), id="elsewhere"),
    ],
)
def test_what_asks_for_nothing_is_void(body: str) -> None:
    assert decode_notification(body) is None
    queue = InMemoryJobQueue()
    queue.put_body(body)
    (received,) = queue.receive(1, 0)
    assert received.job is None and received.is_void


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "{}",
        "[]",
        '{"Records": []}',
        '{"Records": [{}]}',
        '{"Records": [{"eventName": 1}]}',
        '{"Records": [[]]}',
        '{"Records": {"0": {}}}',
        '{"Event": "s3:TestEvent"}',
        pytest.param(json.dumps({"Records": json.loads(notification("drop/a.jpg"))["Records"] * 2}), id="two photos"),
        pytest.param(notification("drop/a.jpg") + " " * 20_000, id="too long"),
    ],
)
def test_anything_else_is_poison(body: str) -> None:
    with pytest.raises(DecodeError):
        decode_notification(body)
    queue = InMemoryJobQueue()
    queue.put_body(body)
    (received,) = queue.receive(1, 0)
    assert received.job is None and not received.is_void


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Records", "eventName", "s3", "bucket", "object", "name", "key", "Event"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_document_raises_anything_else(value: Any) -> None:
    with contextlib.suppress(DecodeError):
        decode_notification(json.dumps(value))


# --- the sweep -----------------------------------------------------------------------------------


class Bench:
    def __init__(self, named_images: bool = False) -> None:
        self.clock = ManualClock(NOW.timestamp())
        self.queue = InMemoryJobQueue(self.clock)
        self.images = InMemoryImageStore(self.clock)
        self.results = InMemoryResultStore(self.clock)
        self.sweep = DroppedPhotos(
            self.queue,  # type: ignore[arg-type]
            self.images,  # type: ignore[arg-type]
            self.results,  # type: ignore[arg-type]
            MIN_AGE_SECONDS,
            named_images,
            clock=lambda: datetime.fromtimestamp(self.clock(), UTC),
        )

    def drop(self, key: str = "drop/dog.jpg", body: bytes = b"beagle") -> None:
        self.images.put(key, body, "")

    def work(self) -> int:
        """Answers all jobs as a worker does, each photo with its content for a label; returns how many."""
        count = 0
        while received := self.queue.receive(10, 0):
            for delivery in received:
                job = delivery.job
                assert job is not None
                label = Prediction(self.images.get(job.key).decode(), 1.0)
                self.results.put(ClassificationResult(job.key, job.name, (label,), job_id=job.job_id))
                count += 1
            self.queue.delete([delivery.receipt_handle for delivery in received])
        return count


def test_a_photo_without_a_notification_is_answered_once() -> None:
    bench = Bench()
    bench.drop("drop/cats/a b+ä.jpg")
    bench.sweep.round()
    assert bench.queue.jobs == [], "its notification may be on the way"
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    for _round in range(3):
        bench.sweep.round()
    assert bench.work() == 1
    assert bench.results.line("drop/cats/a b+ä.jpg") == "cats/a b+ä.jpg, beagle"
    bench.clock.advance(1000)
    bench.sweep.round()
    assert bench.queue.jobs == []


def test_a_photo_whose_notification_waits_or_was_answered_is_not_enqueued() -> None:
    bench = Bench()
    bench.drop()
    bench.queue.put_body(notification("drop/dog.jpg"))
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    assert bench.work() == 1
    bench.sweep.round()
    assert bench.work() == 0


def test_a_notification_that_comes_after_the_sweep_changes_no_answer() -> None:
    bench = Bench()
    bench.drop()
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    bench.queue.put_body(notification("drop/dog.jpg"))
    assert bench.work() == 2
    assert [stored.key for stored in bench.results.list("drop/")] == ["drop/dog.jpg"]
    assert bench.results.line("drop/dog.jpg") == "dog.jpg, beagle"


def test_another_photo_under_the_same_key_is_answered_anew() -> None:
    bench = Bench()
    bench.drop(body=b"beagle")
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    bench.work()
    bench.clock.advance(10)
    bench.drop(body=b"tabby")
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    assert bench.work() == 1
    assert bench.results.line("drop/dog.jpg") == "dog.jpg, tabby"


def test_a_photo_that_was_overtaken_is_enqueued_although_the_queue_is_not_empty() -> None:
    bench = Bench()
    bench.drop("drop/lost.jpg")
    bench.clock.advance(OVERTAKEN_BY.total_seconds())
    bench.drop("drop/younger.jpg")
    bench.queue.put_body(notification("drop/younger.jpg"))
    bench.work()
    bench.queue.put_body(notification("drop/younger.jpg"))
    bench.clock.advance(MIN_AGE_SECONDS)
    bench.sweep.round()
    assert [job.key for job in bench.queue.jobs] == ["drop/younger.jpg", "drop/lost.jpg"]


def test_one_whose_job_was_lost_again_is_enqueued_again() -> None:
    bench = Bench()
    bench.drop()
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    bench.queue.purge()
    bench.sweep.round()
    assert bench.queue.jobs == []
    bench.clock.advance(MIN_AGE_SECONDS + 1)
    bench.sweep.round()
    assert len(bench.queue.jobs) == 1


def test_old_photos_and_folders_are_left_alone() -> None:
    bench = Bench()
    bench.drop()
    bench.drop("drop/cats/", b"")
    bench.clock.advance(LOOK_BACK.total_seconds() + 1)
    bench.sweep.round()
    assert bench.queue.jobs == []


@given(
    st.lists(st.sampled_from(["drop", "event", "event again", "work", "sweep", "wait", "lose the events"]), max_size=25)
)
def test_every_photo_is_answered_whatever_comes_when(steps: list[str]) -> None:
    bench, dropped = Bench(), list[str]()
    for step in steps:
        if step == "drop":
            dropped.append(f"drop/{len(dropped)}.jpg")
            bench.drop(dropped[-1], dropped[-1].encode())
        elif step.startswith("event") and dropped:
            bench.queue.put_body(notification(dropped[-1 if step == "event" else 0]))
        elif step == "work":
            bench.work()
        elif step == "sweep":
            bench.sweep.round()
        elif step == "wait":
            bench.clock.advance(40)
        elif step == "lose the events":
            bench.queue.purge()
    bench.work()
    for _round in range(2):
        bench.clock.advance(MIN_AGE_SECONDS + 1)
        bench.sweep.round()
        bench.work()
    assert {stored.key for stored in bench.results.list("drop/")} == set(dropped)
    assert all(bench.results.line(key).endswith(key) for key in dropped)


def test_what_lies_elsewhere_in_the_bucket_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    batch = "20260101-120000-0123456789ab"
    for ours in (
        "drop/a.jpg",
        f"{batch}/00000-a.jpg",
        f"batches/{batch}.json",
        "owners/ada/x",
        "names/x/y",
        "deleted/x",
    ):
        bench.images.put(ours, b"", "")
    with caplog.at_level(logging.WARNING):
        bench.sweep.round()
        assert not caplog.records
        for misplaced in ("photo.jpg", "holiday/1.jpg", "holiday/2.jpg", f"{batch}"):
            bench.images.put(misplaced, b"", "")
        bench.sweep.round()
        bench.sweep.round()
        (first,) = caplog.messages
        assert "3 new" in first and "below drop/" in first
        bench.images.put("dog.jpg", b"", "")
        bench.sweep.round()
        assert len(caplog.messages) == 2 and "'dog.jpg' (1 new)" in caplog.messages[1]


def test_named_images_are_in_their_place_where_they_are_stored_so(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(named_images=True)
    for key in ("photo.jpg", "holiday/1.jpg"):
        bench.images.put(key, b"", "")
    bench.sweep.round()
    (only,) = caplog.messages
    assert "'holiday/' (1 new)" in only


def test_trouble_with_the_sweep_does_not_stop_the_report(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.images.put("photo.jpg", b"", "")
    bench.images.fail_next("list_dropped")
    with pytest.raises(RoundError, match="dropped photos"):
        bench.sweep.round()
    assert "photo.jpg" in caplog.text


# --- elastic watch -------------------------------------------------------------------------------


def test_watch_shows_a_photo_again_only_if_its_answer_is_another() -> None:
    bench, stop, shown = Bench(), threading.Event(), list[str]()
    answers = iter(["beagle", "beagle", "tabby", None])

    def show(line: str) -> None:
        shown.append(line)

    def list_results(prefix: str = "", start_after: str = "") -> Any:
        answer = next(answers)
        if answer is None:
            stop.set()
        else:
            job = job_of("test-input", "drop/dog.jpg", "")
            bench.results.put(ClassificationResult(job.key, job.name, (Prediction(answer, 1.0),)))
        return InMemoryResultStore.list(bench.results, prefix, start_after)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.results, "list", list_results)
        patch.setattr("cli.watch.POLL_SECONDS", 0.0)
        print_results(bench.results, show, stop, from_now=False)  # type: ignore[arg-type]
    assert shown == ["dog.jpg, beagle", "dog.jpg, tabby"]
