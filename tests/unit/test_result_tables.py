"""Each complete batch gets one table of its results in the output bucket, once, and again only if it changes."""

from __future__ import annotations

import csv
import dataclasses
import io
import tracemalloc
from datetime import UTC, datetime

import pytest

from aws.in_memory import InMemoryImageStore, InMemoryResultStore, ManualClock
from controller.housekeeping.janitor import LOOK_BACK
from controller.housekeeping.result_tables import LOOK_AGAIN_AFTER, QUIET_AFTER, ResultTables
from core.batch_record import ABANDONED_AFTER_SECONDS, BatchRecord
from core.jobs import ClassificationResult, Prediction, image_key, new_batch_id
from core.object_keys import RESULT_TABLES
from core.periodic_task import RoundError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUIET_SECONDS = QUIET_AFTER.total_seconds()


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW.timestamp())
        self.images = InMemoryImageStore(self.clock, keep_calls=False)
        self.results = InMemoryResultStore(self.clock)
        self.tables = self.another_controller()

    def another_controller(self) -> ResultTables:
        return ResultTables(
            self.images,  # type: ignore[arg-type]
            self.results,  # type: ignore[arg-type]
            clock=lambda: datetime.fromtimestamp(self.clock(), UTC),
        )

    def batch(self, images: int = 0, *, listed: bool = True) -> str:
        batch_id = new_batch_id(datetime.fromtimestamp(self.clock(), UTC))
        self.images.create_batch(batch_id, BatchRecord(listed=listed))
        for position in range(images):
            self.upload(batch_id, position)
        return batch_id

    def upload(self, batch_id: str, position: int) -> None:
        self.images.put(image_key(batch_id, position, "a.jpg"), b"x", f"set_{position}/a.jpg")

    def answer(self, batch_id: str, label: str = "beagle") -> None:
        for stored in list(self.images.list(batch_id)):
            if stored.key not in self.results.objects:
                name = self.images.name(stored.key)
                self.results.put(ClassificationResult(stored.key, name, (Prediction(label, 0.75),), model="m@1"))

    def wait_and_look(self, seconds: float = QUIET_SECONDS) -> None:
        self.clock.advance(seconds)
        self.tables.round()

    def table(self, batch_id: str) -> list[dict[str, str]] | None:
        stored = self.results.objects.get(RESULT_TABLES.key_of(batch_id))
        return None if stored is None else list(csv.DictReader(io.StringIO(stored.body.decode(), newline="")))

    def writes(self) -> int:
        return sum(call[0] == "put_table" for call in self.results.calls)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_complete_batch_gets_a_table_once(bench: Bench) -> None:
    batch_id = bench.batch(images=2)
    bench.answer(batch_id)
    bench.tables.round()
    assert bench.table(batch_id) is None, "more images may come"
    for _round in range(3):
        bench.wait_and_look()
    bench.another_controller().round()
    assert bench.table(batch_id) == [
        {
            "image": f"set_{position}/a.jpg",
            "label": "beagle",
            "score": "0.75",
            "model": "m@1",
            "seconds_total": "",
            "key": image_key(batch_id, position, "a.jpg"),
        }
        for position in range(2)
    ]
    assert bench.writes() == 1
    assert [stored.key for stored in bench.results.list(f"{batch_id}/")] == sorted(bench.images.objects)


def test_a_batch_in_progress_and_an_empty_one_get_none(bench: Bench) -> None:
    batch_id, empty = bench.batch(images=2), bench.batch()
    bench.answer(batch_id)
    bench.upload(batch_id, 2)
    bench.wait_and_look(3600)
    assert bench.table(batch_id) is bench.table(empty) is None


def test_a_batch_of_which_announced_images_are_missing_gets_one_when_its_upload_is_given_up(bench: Bench) -> None:
    batch_id = bench.batch(images=2)
    announced_at = bench.clock()
    bench.images.update_batch(
        batch_id, lambda record: dataclasses.replace(record, announced=3, announced_at=announced_at)
    )
    bench.answer(batch_id)
    rounds = 0
    while bench.clock() - announced_at < ABANDONED_AFTER_SECONDS - 60:
        bench.wait_and_look(60)
        rounds += 1
        assert bench.table(batch_id) is None
    records_read = sum(call[0] == "table_digest" for call in bench.results.calls)
    assert records_read < rounds / 4, "the longer a batch waits, the more rarely it is looked at"
    bench.wait_and_look(2 * ABANDONED_AFTER_SECONDS)
    assert len(bench.table(batch_id) or ()) == 2


def test_a_batch_that_changes_gets_a_new_table(bench: Bench) -> None:
    batch_id = bench.batch(images=1)
    bench.answer(batch_id)
    bench.wait_and_look()
    bench.upload(batch_id, 1)
    bench.wait_and_look(3600)
    assert len(bench.table(batch_id) or ()) == 1
    bench.answer(batch_id, "church")
    bench.wait_and_look()
    assert [row["label"] for row in bench.table(batch_id) or ()] == ["beagle", "church"]
    del bench.results.objects[image_key(batch_id, 1, "a.jpg")]
    bench.answer(batch_id, "mosque")
    bench.wait_and_look(LOOK_AGAIN_AFTER.total_seconds())
    assert [row["label"] for row in bench.table(batch_id) or ()] == ["beagle", "mosque"]


def test_batches_of_single_images_get_none(bench: Bench) -> None:
    batch_id = bench.batch(images=1, listed=False)
    bench.answer(batch_id)
    bench.wait_and_look()
    assert bench.table(batch_id) is None


def test_complete_batches_cost_few_listings(bench: Bench) -> None:
    batch_id = bench.batch(images=1)
    bench.answer(batch_id)
    for _quarter_minute in range(4 * 60 * 24):
        bench.wait_and_look(15)
    listings = sum(call[0] == "list" for call in bench.results.calls)
    assert listings < 40
    bench.wait_and_look(LOOK_BACK.total_seconds())
    assert not bench.tables._next_look_at


def test_a_result_that_cannot_be_read_has_a_line_and_a_deleted_batch_no_table(bench: Bench) -> None:
    batch_id, deleted = bench.batch(images=1), bench.batch(images=1)
    bench.results.put_garbage(image_key(batch_id, 0, "a.jpg"))
    bench.answer(deleted)
    del bench.images.batches[deleted]
    bench.wait_and_look()
    assert [row["label"] for row in bench.table(batch_id) or ()] == ["error: the stored result cannot be read"]
    assert bench.table(deleted) is None


def test_a_batch_that_fails_does_not_hold_up_the_others_and_is_tried_again(bench: Bench) -> None:
    first, second = bench.batch(images=1), bench.batch(images=1)
    bench.answer(first)
    bench.answer(second)
    bench.clock.advance(QUIET_SECONDS)
    bench.results.fail_next("put_table")
    with pytest.raises(RoundError):
        bench.tables.round()
    assert [bench.table(batch_id) is None for batch_id in (first, second)].count(True) == 1
    bench.tables.round()
    assert bench.table(first) and bench.table(second)


def test_memory_stays_flat_however_large_the_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = bench.batch()
    many = 3000
    for position in range(many):
        key = image_key(batch_id, position, "a.jpg")
        name = f"{'d' * 2000}/{position}.jpg"
        bench.results.put(ClassificationResult(key, name, (Prediction("beagle", 0.75),)))
    sizes = []

    def put_table(_batch_id: str, table: io.BytesIO, _digest: str) -> None:
        sizes.append(table.seek(0, io.SEEK_END))

    monkeypatch.setattr(bench.results, "put_table", put_table)
    bench.clock.advance(QUIET_SECONDS)
    tracemalloc.start()
    bench.tables.round()
    _now, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes[0] > 2000 * many
    assert peak_bytes < sizes[0] / 1.5
