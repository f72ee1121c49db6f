"""Every accepted upload is answered: dead letters by a failure, orphans by a new job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.dead_letters import DeadLetters
from aws.in_memory import InMemoryImageStore, InMemoryJobQueue, InMemoryResultStore, ManualClock
from aws.queue import Backlog
from controller.housekeeping.janitor import LOOK_AGAIN_AFTER, LOOK_AGAIN_PART, LOOK_BACK, Janitor, find_orphans
from core.batch_record import BatchRecord
from core.jobs import ClassificationJob, ClassificationResult, Prediction, image_key, new_batch_id, new_job_id
from core.periodic_task import PeriodicTask, RoundError

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
        self.images.create_batch(self.batch, BatchRecord())
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


def test_trouble_with_one_task_does_not_stop_the_other() -> None:
    bench = Bench()
    bench.upload(1)
    bench.clock.advance(61)
    bench.dead.fail_next("backlog")
    with pytest.raises(RoundError, match="dead letters"):
        bench.janitor.round()
    assert len(bench.queue.jobs) == 1


@pytest.mark.parametrize("part", ["images", "results", "queue", "dead"])
def test_an_unexpected_exception_ends_one_round_and_not_the_janitor(part: str) -> None:
    bench = Bench()
    lost, dead = bench.upload(1), bench.upload(2)
    bench.dead.send([dead])
    bench.clock.advance(61)
    method = {"images": "list", "results": "list"}.get(part, "backlog")
    getattr(bench, part).fail_next(method, error=RuntimeError("a fault"))
    task = PeriodicTask("janitor", 15.0, bench.janitor.round, clock=bench.clock)
    assert not task.run_round() and task.run_round()
    assert lost.key in [job.key for job in bench.queue.jobs]
    assert bench.results.line(dead.key).startswith("dög.jpg, error: ")


def test_one_batch_that_cannot_be_read_does_not_hold_up_the_others() -> None:
    bench = Bench()
    poisoned = new_batch_id(NOW - MINUTE)
    bench.images.create_batch(poisoned, BatchRecord())
    lost = bench.upload(1)
    bench.clock.advance(61)
    bench.images.fail_next("list", error=ValueError("poison"), where=lambda batch_id: batch_id == poisoned)
    with pytest.raises(RoundError, match=poisoned):
        bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [lost.key]


def test_one_orphan_that_cannot_be_enqueued_does_not_hold_up_the_others() -> None:
    bench = Bench()
    poisoned, lost = bench.upload(1), bench.upload(2)
    bench.clock.advance(61)
    bench.images.fail_next("name", error=ValueError("poison"), where=lambda key: key == poisoned.key)
    with pytest.raises(RoundError, match=poisoned.key):
        bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [lost.key]
    bench.answer(lost)
    bench.queue.delete([delivery.receipt_handle for delivery in bench.queue.receive(10, 0)])
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [poisoned.key], "it is tried again"


def test_one_dead_letter_that_cannot_be_answered_does_not_hold_up_the_others_and_is_tried_again() -> None:
    bench = Bench()
    poisoned, other = bench.upload(1), bench.upload(2)
    bench.dead.send([poisoned, other])
    bench.results.fail_next("exists", error=ValueError("poison"), where=lambda key: key == poisoned.key)
    with pytest.raises(RoundError, match=poisoned.key):
        bench.janitor.round()
    assert other.key in bench.results.objects and poisoned.key not in bench.results.objects
    bench.janitor.round()
    assert poisoned.key in bench.results.objects


@pytest.mark.parametrize("letters", [1, 2, 25])
@pytest.mark.parametrize("miscounted_by", [-1, 0, 3])
def test_letters_cost_two_looks_at_most_whatever_they_are_and_however_sqs_counts(
    letters: int, miscounted_by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    for _letter in range(letters):
        bench.dead.put_body("not a job")
    counted = Backlog(letters + miscounted_by, 0)
    monkeypatch.setattr(bench.dead, "backlog", lambda: counted)
    bench.janitor.round()
    bench.janitor.round()
    looks = bench.dead.count("receive")
    for _round in range(5):
        bench.janitor.round()
    assert bench.dead.count("receive") == looks


def test_a_letter_that_another_looked_at_is_answered_in_the_next_round() -> None:
    bench = Bench()
    first, second = bench.upload(1), bench.upload(2)
    bench.dead.send([first, second])
    held = bench.dead.receive(1, 0)
    bench.janitor.round()
    assert (first.key in bench.results.objects, second.key in bench.results.objects) == (False, True)
    bench.dead.release([letter.receipt_handle for letter in held])
    bench.janitor.round()
    assert first.key in bench.results.objects


def test_another_dead_letter_in_the_place_of_a_redriven_one_is_answered() -> None:
    bench = Bench()
    first, second = bench.upload(1), bench.upload(2)
    bench.dead.send([first])
    bench.janitor.round()
    bench.dead.delete([delivery.receipt_handle for delivery in bench.dead.receive(10, 0)])
    bench.dead.send([second])
    bench.clock.advance(LOOK_AGAIN_AFTER.total_seconds())
    bench.janitor.round()
    assert second.key in bench.results.objects


@pytest.mark.parametrize("is_answered", [False, True], ids=["empty", "complete"])
def test_a_batch_without_open_images_is_looked_at_less_and_less(is_answered: bool) -> None:
    bench = Bench()
    if is_answered:
        bench.answer(bench.upload(1))
    for _round in range(240):
        bench.clock.advance(15)
        bench.janitor.round()
    assert bench.images.count("list") == bench.results.count("list") <= 24, "a tenth of an hour's rounds"


@pytest.mark.parametrize("answered_before", [False, True], ids=["empty", "complete"])
def test_an_upload_into_a_settled_batch_is_found(answered_before: bool) -> None:
    bench = Bench()
    if answered_before:
        bench.answer(bench.upload(1))
    bench.clock.advance(3600)
    bench.janitor.round()
    late = bench.upload(2)
    bench.clock.advance(LOOK_AGAIN_AFTER.total_seconds())
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [late.key]
    listings = bench.images.count("list")
    bench.janitor.round()
    assert bench.images.count("list") == listings + 1, "it is looked at in each round again"


def test_an_upload_into_a_complete_batch_is_found_after_a_part_of_its_age() -> None:
    bench = Bench()
    bench.answer(bench.upload(1))
    bench.clock.advance(600)
    bench.janitor.round()
    late = bench.upload(2)
    bench.clock.advance(600 * LOOK_AGAIN_PART)
    assert bench.janitor.round() is True
    assert [job.key for job in bench.queue.jobs] == [late.key]


def test_batches_that_are_no_longer_listed_are_forgotten() -> None:
    bench = Bench()
    assert bench.janitor.round() is False
    assert list(bench.janitor._next_look_at) == [bench.batch]
    bench.clock.advance(LOOK_BACK.total_seconds() + 1)
    bench.janitor.round()
    assert not bench.janitor._next_look_at


def test_a_foreign_record_among_the_batches_is_looked_at_rarely() -> None:
    bench = Bench()
    for foreign in ("zzz", "20269999-999999-0123456789ab"):
        bench.images.create_batch(foreign, BatchRecord())
    bench.janitor.round()
    at = bench.janitor._next_look_at
    assert at.keys() == {bench.batch, "20269999-999999-0123456789ab"}, "the other one is not even listed"
    assert at["20269999-999999-0123456789ab"] == NOW + LOOK_AGAIN_AFTER
