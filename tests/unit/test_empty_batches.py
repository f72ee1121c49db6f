"""Empty batches end: closed after half a day, deleted soon after, and never with an image in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.in_memory import InMemoryBatchIndex, InMemoryImageStore, InMemoryResultStore, ManualClock
from controller.housekeeping.empty_batches import DELETED_AFTER, EMPTY_AFTER, LOOK_BACK, EmptyBatches
from core.batch_record import BatchRecord
from core.errors import CloudError
from core.jobs import ClassificationResult, Failure, image_key, new_batch_id
from core.periodic_task import RoundError


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.images = InMemoryImageStore(self.clock)
        self.results = InMemoryResultStore(self.clock)
        self.index = InMemoryBatchIndex(self.clock)
        self.task = EmptyBatches(self.index, self.images, self.results, self.now)  # type: ignore[arg-type]

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def create(self) -> str:
        batch_id = new_batch_id(self.now())
        self.images.create_batch(batch_id, BatchRecord(self.now().isoformat(), "ada"))
        self.index.add("ada", batch_id)
        return batch_id

    def pass_by(self, time: timedelta) -> None:
        self.clock.advance(time.total_seconds())
        self.task.round()


def test_an_empty_batch_is_closed_then_deleted() -> None:
    bench = Bench()
    batch_id = bench.create()
    bench.pass_by(EMPTY_AFTER - timedelta(seconds=2))
    assert not bench.images.read_batch(batch_id).cancelled
    bench.pass_by(timedelta(seconds=4))
    assert bench.images.read_batch(batch_id).cancelled, "no upload begins any more"
    bench.pass_by(DELETED_AFTER - timedelta(seconds=1))
    assert bench.images.batches
    bench.pass_by(timedelta(seconds=2))
    assert not bench.images.batches and bench.index.page("ada", 10) == []
    assert list(bench.index.notes) == [batch_id], "what comes back under it is deleted, too"


@pytest.mark.parametrize("what", ["image", "failure"])
def test_an_upload_that_was_on_its_way_keeps_its_batch(what: str) -> None:
    bench = Bench()
    batch_id = bench.create()
    bench.pass_by(EMPTY_AFTER + timedelta(seconds=2))
    key = image_key(batch_id, 0, "a.jpg")
    if what == "image":
        bench.images.put(key, b"x", "a.jpg")
    else:
        bench.results.put(ClassificationResult(key, "a.jpg", failure=Failure("broken", "damaged")))
    bench.pass_by(DELETED_AFTER * 2)
    bench.pass_by(DELETED_AFTER * 2)
    assert not bench.images.read_batch(batch_id).cancelled and bench.index.page("ada", 10) == [batch_id]
    listings = bench.images.count("list")
    bench.task.round()
    assert bench.images.count("list") == listings, "it is not looked at again"


def test_one_that_fails_does_not_keep_the_others() -> None:
    bench = Bench()
    first = bench.create()
    bench.clock.advance(1)
    second = bench.create()
    bench.clock.advance(EMPTY_AFTER.total_seconds())
    bench.images.fail_next("list", error=CloudError("no"), where=lambda batch_id: batch_id == first)
    with pytest.raises(RoundError, match=first):
        bench.task.round()
    assert bench.images.read_batch(second).cancelled


def test_memory_does_not_grow_with_old_batches() -> None:
    bench = Bench()
    bench.images.put(image_key(bench.create(), 0, "a.jpg"), b"x", "a.jpg")
    bench.pass_by(EMPTY_AFTER + timedelta(seconds=2))
    bench.pass_by(LOOK_BACK)
    assert not bench.task._in_use and not bench.task._closed_at
