"""Every accepted upload is answered: dead letters by a failure, orphans by a new job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.dead_letters import DeadLetters
from aws.in_memory import InMemoryImageStore, InMemoryJobQueue, InMemoryResultStore, ManualClock
from controller.housekeeping.janitor import Janitor, find_orphans
from core.jobs import ClassificationJob, ClassificationResult, Prediction, image_key, new_batch_id, new_job_id

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ages_minutes", "answered", "queue_is_empty", "orphans"),
    [
        pytest.param({"a": 5}, "", True, "a", id="no answer, no job"),
        pytest.param({"a": 5}, "a", True, "", id="answered"),
        pytest.param({"a": 0.5}, "", True, "", id="too young: its job may be on the way"),
        pytest.param({"a": 5}, "", False, "", id="its job may be waiting"),
        pytest.param({"a": 30, "b": 1}, "b", False, "a", id="overtaken by much younger ones"),
        pytest.param({"a": 10, "b": 1}, "b", False, "", id="overtaken, but not by much"),
        pytest.param({"a": 30, "b": 1, "c": 1}, "b", False, "a", id="the younger ones have time"),
        pytest.param({}, "", True, "", id="nothing uploaded"),
    ],
)
def test_who_is_an_orphan(ages_minutes: dict[str, float], answered: str, queue_is_empty: bool, orphans: str) -> None:
    uploaded = {key: NOW - MINUTE * age for key, age in ages_minutes.items()}
    assert find_orphans(uploaded, set(answered), NOW, MINUTE, queue_is_empty=queue_is_empty) == list(orphans)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW.timestamp())
        self.queue = InMemoryJobQueue(self.clock, max_receive_count=1)
        self.dead = InMemoryJobQueue(self.clock, max_receive_count=1_000_000)
        self.images = InMemoryImageStore(self.clock)
        self.results = InMemoryResultStore(self.clock)
        self.batch = new_batch_id(NOW)
        self.images.create_batch(self.batch, {})
        letters = DeadLetters(self.dead, self.queue)  # type: ignore[arg-type]
        self.janitor = Janitor(
            self.queue,  # type: ignore[arg-type]
            letters,
            self.images,  # type: ignore[arg-type]
            self.results,  # type: ignore[arg-type]
            60,
            clock=lambda: datetime.fromtimestamp(self.clock(), UTC),
        )

    def upload(self, position: int) -> ClassificationJob:
        key = image_key(self.batch, position, "dog.jpg")
        self.images.put(key, b"pixels", "dög.jpg")
        return ClassificationJob(new_job_id(), self.batch, "test-input", key, "dög.jpg")

    def answer(self, job: ClassificationJob) -> None:
        self.results.put(ClassificationResult(job.key, job.name, (Prediction("beagle", 1.0),)))


def test_an_upload_without_a_job_is_enqueued_once() -> None:
    bench = Bench()
    job = bench.upload(1)
    bench.janitor.round()
    assert bench.queue.jobs == []
    bench.clock.advance(61)
    bench.janitor.round()
    bench.janitor.round()
    assert [(found.key, found.name) for found in bench.queue.jobs] == [(job.key, "dög.jpg")]


def test_nothing_is_enqueued_while_work_is_waiting_or_in_flight() -> None:
    bench = Bench()
    lost, waiting = bench.upload(1), bench.upload(2)
    bench.queue.send([waiting])
    bench.clock.advance(300)
    bench.janitor.round()
    bench.queue.receive(10, 0)
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [waiting.key]
    assert lost.key not in bench.results.objects


def test_complete_batches_cost_no_more_listings() -> None:
    bench = Bench()
    bench.answer(bench.upload(1))
    bench.clock.advance(2 * 3600)
    bench.janitor.round()
    listings = bench.images.count("list")
    bench.janitor.round()
    assert bench.images.count("list") == listings


def test_a_dead_letter_becomes_a_visible_failure_and_stays() -> None:
    bench = Bench()
    job = bench.upload(1)
    bench.dead.send([job])
    bench.dead.put_body("not a job")
    bench.janitor.round()
    assert bench.results.line(job.key) == (
        "dög.jpg, error: the image could not be classified although it was tried several times"
    )
    assert bench.dead.jobs == [job]
    assert bench.dead.backlog().visible == 2, "others can look at them, too"


def test_a_dead_letter_that_was_answered_keeps_its_answer() -> None:
    bench = Bench()
    job = bench.upload(1)
    bench.answer(job)
    bench.dead.send([job])
    bench.janitor.round()
    assert bench.results.line(job.key) == "dög.jpg, beagle"


def test_redriven_letters_are_jobs_again_and_what_is_no_job_stays() -> None:
    bench = Bench()
    jobs = [bench.upload(position) for position in range(25)]
    bench.dead.send(jobs)
    bench.dead.put_body("not a job")
    letters = DeadLetters(bench.dead, bench.queue)  # type: ignore[arg-type]
    assert len(letters.peek(100)) == 26 and letters.count() == 26
    assert letters.redrive(100) == 25
    assert bench.queue.jobs == jobs and letters.count() == 1
    assert letters.peek(5)[0].job is None


def test_trouble_with_one_task_does_not_stop_the_other() -> None:
    bench = Bench()
    bench.upload(1)
    bench.clock.advance(61)
    bench.dead.fail_next("backlog")
    bench.janitor.round()
    assert len(bench.queue.jobs) == 1
