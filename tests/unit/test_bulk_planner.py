"""The bulk planner: every key is planned, enqueued and merged exactly once, whatever ends in between."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws.bulk_runs import BulkRuns
from aws.in_memory import InMemoryBulkQueue, InMemoryPhotoSource, InMemoryStateStore, ManualClock
from controller.bulk.planner import SEGMENTS_AHEAD, STALLED_SECONDS, BulkPlanner
from core.bulk_columns import Format
from core.bulk_run import (
    JOBS_PER_SEGMENT,
    BulkJob,
    BulkRun,
    LabelledImage,
    Manifest,
    Part,
    Status,
)
from core.errors import CloudError, DeniedError
from core.jobs import Failure, Prediction
from core.periodic_task import RoundError

RUN = BulkRun("20260102-030405-0123456789ab", "photos", "in/", "labels", "out/", images_per_job=2)
LOST_AFTER_SECONDS = 60.0


class Cloud:
    """Buckets and queue in memory, and a worker that answers what is in the queue."""

    def __init__(self, count: int = 10, **fields: Any) -> None:
        self.clock = ManualClock()
        self.state = InMemoryStateStore(self.clock)
        state: Any = self.state
        self.labels = InMemoryStateStore(self.clock, "labels")
        self.source = InMemoryPhotoSource()
        self.source.photos = {f"in/{number:06}.jpg": b"x" for number in range(count)}
        self.queue = InMemoryBulkQueue(self.clock, max_receive_count=10**9)
        outputs: Any = self.labels
        self.runs = BulkRuns(state, lambda bucket: outputs)
        self.runs.start(dataclasses.replace(RUN, **fields))
        self.planner = self.controller()

    def controller(self) -> BulkPlanner:
        source: Any = self.source
        queue: Any = self.queue
        return BulkPlanner(self.runs, queue, lambda run: source, LOST_AFTER_SECONDS, self.clock, lambda seconds: None)

    @property
    def run(self) -> BulkRun:
        return self.runs.get(RUN.run_id)

    def answer(self, count: float = math.inf) -> int:
        """Answers up to `count` of the jobs that are in the queue; returns how many."""
        answered = 0
        while answered < count and (delivery := self.queue.receive(0)):
            assert delivery.job is not None
            self.labels.put(delivery.job.part_key, part_of(delivery.job).encode())
            self.queue.delete([delivery.receipt_handle])
            answered += 1
        return answered

    def finish(self, rounds: int = 200) -> None:
        """Runs rounds of the planner and answers all jobs until the run is over."""
        for _ in range(rounds):
            self.planner.round()
            self.answer()
            if not self.run.is_active:
                return
        raise AssertionError(f"the run is not over: {self.run}")

    def table(self) -> list[dict[str, str]]:
        """The rows of all tables."""
        keys = sorted(key for key in self.labels.objects if key.startswith("out/labels-"))
        text = b"".join(self.labels.objects[key].body for key in keys).decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))


def part_of(job: BulkJob, failed: Callable[[str], bool] = lambda key: False) -> Part:
    images = (
        LabelledImage(key, failure=Failure("broken", "the image is damaged"))
        if failed(key)
        else LabelledImage(key, (Prediction("tabby, cat", 0.75), Prediction("lynx", 0.25)))
        for key in job.keys
    )
    return Part(job.run_id, job.part, "m@1", tuple(images))


def test_a_run_from_the_listing_to_the_table() -> None:
    cloud = Cloud(11)
    cloud.source.photos |= {"in/readme.txt": b"", "in/folder/": b"", "elsewhere/a.jpg": b""}
    cloud.planner.round()
    assert cloud.planner.waiting_images() == 11
    assert [job.part for job in cloud.queue.bulk_jobs] == list(range(6))
    cloud.answer(2)
    cloud.planner.round()
    assert (cloud.planner.waiting_images(), cloud.run.done_images) == (7, 4)
    cloud.finish()
    run = cloud.run
    assert (run.status, run.done_images, run.failed_images, run.skipped) == (Status.COMPLETE, 11, 0, 2)
    assert run.finished_at == cloud.clock() and cloud.planner.waiting_images() == 0
    assert [row["image"] for row in cloud.table()] == [f"in/{number:06}.jpg" for number in range(11)]
    assert {row["label"] for row in cloud.table()} == {"tabby, cat"}
    assert sorted(cloud.labels.objects) == ["out/_SUCCESS", "out/_manifest.json", "out/labels-00000.csv"]
    manifest = Manifest.decode(cloud.labels.objects["out/_manifest.json"].body)
    assert (manifest.images, manifest.models, manifest.files[0].images) == (11, ("m@1",), 11)


def test_a_part_that_is_stored_once_more_after_the_merge_is_deleted() -> None:
    cloud = Cloud()
    cloud.planner.round()
    (again, *_) = cloud.queue.bulk_jobs
    cloud.finish()
    cloud.clock.advance(LOST_AFTER_SECONDS / 2)
    cloud.planner.round()
    cloud.labels.put(again.part_key, part_of(again).encode())
    assert cloud.runs.active_ids() == [RUN.run_id]
    cloud.clock.advance(LOST_AFTER_SECONDS / 2)
    cloud.planner.round()
    assert again.part_key not in cloud.labels.objects
    assert cloud.runs.active_ids() == []


@pytest.mark.parametrize("count", [0, 1, 2 * JOBS_PER_SEGMENT, 2 * JOBS_PER_SEGMENT + 1])
def test_runs_of_every_size_end(count: int) -> None:
    cloud = Cloud(count)
    cloud.finish()
    assert len(cloud.table()) == cloud.run.done_images == count


def test_few_jobs_are_in_the_queue_and_few_requests_are_sent() -> None:
    """The controller's memory and the queue hold a bounded part of a large run."""
    cloud = Cloud(3_000)
    most, rounds = 0, 0
    while cloud.run.is_active:
        cloud.planner.round()
        most = max(most, len(cloud.queue.messages))
        cloud.answer(400)
        rounds += 1
    assert most <= SEGMENTS_AHEAD * JOBS_PER_SEGMENT
    assert len(cloud.table()) == 3_000
    jobs = 3_000 // 2
    assert cloud.queue.count("send") == jobs / 10
    assert cloud.labels.count("put") <= jobs + rounds + 2, "a part for each job, and what completes the run"
    assert cloud.labels.count("list") < 2 * jobs / JOBS_PER_SEGMENT


@given(data=st.data(), count=st.integers(0, 200))
def test_nothing_is_lost_or_doubled_whatever_fails(data: st.DataObject, count: int) -> None:
    """Requests fail, controllers are killed in the middle of a round, two of them work at once, jobs are lost."""
    cloud = Cloud(count)
    methods = {
        cloud.labels: ("create", "get", "list", "put", "put_file", "delete_all"),
        cloud.state: ("get", "replace", "list", "delete"),
        cloud.queue: ("send", "backlog"),
    }
    others = [cloud.planner, cloud.controller()]
    for _ in range(data.draw(st.integers(0, 25))):
        cloud.clock.advance(LOST_AFTER_SECONDS / 2)
        match data.draw(st.sampled_from(["fail", "kill", "other", "lose", "answer", "round"])):
            case "fail":
                store = data.draw(st.sampled_from(list(methods)))
                store.fail_next(data.draw(st.sampled_from(methods[store])), where=_after(data.draw(st.integers(0, 3))))
            case "kill":
                cloud.planner = cloud.controller()
            case "other":
                others.append(cloud.planner)
                cloud.planner = data.draw(st.sampled_from(others))
            case "lose":
                cloud.queue.purge()
            case "answer":
                with contextlib.suppress(CloudError):  # as if a worker were killed: its job is delivered again
                    cloud.answer(data.draw(st.integers(0, 5)))
            case _:
                pass
        with contextlib.suppress(CloudError, RoundError):
            cloud.planner.round()
    for store in methods:
        store._planned.clear()
    for _ in range(300):
        cloud.clock.advance(LOST_AFTER_SECONDS / 2)
        cloud.answer()
        cloud.planner.round()
        if not cloud.run.is_active:
            break
    assert cloud.run.status is Status.COMPLETE, cloud.run
    assert [row["image"] for row in cloud.table()] == sorted(cloud.source.photos)
    cloud.clock.advance(LOST_AFTER_SECONDS)
    cloud.planner.round()
    assert cloud.runs.active_ids() == []
    assert {key for key in cloud.labels.objects if not key.startswith("out/labels-")} == {
        "out/_SUCCESS",
        "out/_manifest.json",
    }


def _after(calls: int) -> Callable[..., bool]:
    """Let so many calls pass before one fails."""
    left = [calls]

    def is_now(*_arguments: Any) -> bool:
        left[0] -= 1
        return left[0] < 0

    return is_now


def test_a_listing_that_changes_while_it_is_planned_twice_plans_each_key_once() -> None:
    """A controller ends after storing a segment; photos are added before the next one plans."""
    cloud = Cloud(4 * JOBS_PER_SEGMENT)
    cloud.state.fail_next("replace")
    with pytest.raises(RoundError):
        cloud.planner.round()
    assert cloud.run.planned_segments == 0 and "out/_plan/000000.json" in cloud.labels.objects
    cloud.source.photos["in/000000-new.jpg"] = b"x"
    cloud.planner = cloud.controller()
    cloud.finish()
    rows = [row["image"] for row in cloud.table()]
    assert len(set(rows)) == len(rows) == 4 * JOBS_PER_SEGMENT
    assert rows == sorted(rows)


def test_planning_goes_on_after_the_stored_segment_and_not_after_a_later_listing() -> None:
    """A controller ends after its first segment; photos are added within it before the next one plans."""
    cloud = Cloud(6 * JOBS_PER_SEGMENT)
    cloud.labels.fail_next("create", where=_after(1))
    with pytest.raises(RoundError):
        cloud.planner.round()
    cloud.source.photos["in/000000-new.jpg"] = b"x"
    cloud.planner = cloud.controller()
    cloud.finish()
    rows = [row["image"] for row in cloud.table()]
    assert rows == sorted(cloud.source.photos.keys() - {"in/000000-new.jpg"})


def test_jobs_that_the_queue_has_lost_are_enqueued_again() -> None:
    cloud = Cloud()
    cloud.planner.round()
    cloud.answer(3)
    cloud.queue.purge()
    for _ in range(3):
        cloud.planner.round()
        assert not cloud.queue.messages, "the counts of SQS may be a minute old"
        cloud.clock.advance(LOST_AFTER_SECONDS / 2)
    cloud.planner.round()
    cloud.planner.round()
    assert [job.part for job in cloud.queue.bulk_jobs] == [3, 4]
    cloud.finish()
    assert len(cloud.table()) == 10


@pytest.mark.parametrize("damage", ["no part", "other images", "another run's"])
def test_a_damaged_part_is_made_again(damage: str) -> None:
    cloud = Cloud(4 * JOBS_PER_SEGMENT)
    cloud.planner.round()
    cloud.answer()
    key = RUN.part_key(JOBS_PER_SEGMENT + 1)
    part = Part.decode(cloud.labels.objects[key].body)
    bodies = {
        "no part": b"[" * 100,
        "other images": dataclasses.replace(part, images=part.images[:1]).encode(),
        "another run's": dataclasses.replace(part, run_id="another").encode(),
    }
    cloud.labels.put(key, bodies[damage])
    cloud.planner.round()
    run = cloud.run
    assert (run.status, run.done_segments, run.done_images) == (Status.RUNNING, 1, 2 * JOBS_PER_SEGMENT)
    cloud.planner.round()
    assert [job.part for job in cloud.queue.bulk_jobs] == [JOBS_PER_SEGMENT + 1]
    cloud.finish()
    assert len(cloud.table()) == 4 * JOBS_PER_SEGMENT


def test_a_merge_goes_on_after_requests_that_fail() -> None:
    """Of thousands of requests some fail beyond botocore's attempts; from the start again, a merge would never end."""
    cloud = Cloud(4 * JOBS_PER_SEGMENT)
    cloud.planner.round()
    cloud.answer()
    for method, key in (("get", "out/_parts/"), ("get", "out/_plan/000001"), ("put_file", "out/"), ("put", "out/_")):
        cloud.labels.fail_next(method, times=3, where=lambda name, *_, key=key: name.startswith(key))
    cloud.planner.round()
    assert cloud.run.status is Status.COMPLETE and cloud.labels.count("put_file") == 4
    assert len(cloud.table()) == 4 * JOBS_PER_SEGMENT


def test_the_instances_of_all_runs_are_limited_only_if_each_is() -> None:
    cloud = Cloud(max_instances=3)
    assert cloud.planner.max_instances() is None, "no image is known to wait"
    cloud.planner.round()
    assert cloud.planner.max_instances() == 3
    other = dataclasses.replace(RUN, run_id="20260102-030405-0123456789ac", output_prefix="other/", max_instances=2)
    cloud.runs.start(other)
    cloud.planner.round()
    assert cloud.planner.max_instances() == 5
    cloud.runs.update(other.run_id, lambda run: dataclasses.replace(run, max_instances=0))
    cloud.planner.round()
    assert cloud.planner.max_instances() is None
    cloud.runs.cancel(other.run_id, cloud.clock())
    cloud.planner.round()
    assert cloud.planner.max_instances() == 3
    cloud.finish()
    assert cloud.planner.max_instances() is None


def test_a_cancelled_run_rests_and_is_resumed() -> None:
    cloud = Cloud()
    cloud.planner.round()
    cloud.answer(2)
    cloud.planner.round()
    cloud.runs.cancel(RUN.run_id, cloud.clock())
    cloud.queue.purge()
    cloud.planner.round()
    assert (cloud.planner.waiting_images(), cloud.run.done_images) == (0, 4)
    cloud.runs.resume(RUN.run_id)
    cloud.planner.round()
    assert [job.part for job in cloud.queue.bulk_jobs] == [2, 3, 4], "what is answered stays so"
    cloud.finish()
    assert len(cloud.table()) == 10


def test_a_source_that_may_not_be_read_ends_the_run_with_the_reason() -> None:
    cloud = Cloud()
    cloud.source.fail_next("list_keys", error=DeniedError("listing the bucket photos failed: Access Denied"))
    cloud.planner.round()
    assert (cloud.run.status, cloud.run.problem) == (Status.FAILED, "listing the bucket photos failed: Access Denied")
    assert cloud.runs.active_ids() == []
    cloud.runs.resume(RUN.run_id)
    cloud.finish()
    assert (cloud.run.status, cloud.run.problem, len(cloud.table())) == (Status.COMPLETE, "", 10)


def test_without_runs_few_rounds_send_a_request() -> None:
    cloud = Cloud()
    cloud.runs.cancel(RUN.run_id, 5.0)
    source: Any = cloud.source
    queue: Any = cloud.queue
    planner = BulkPlanner(cloud.runs, queue, lambda run: source, LOST_AFTER_SECONDS, cloud.clock, idle_rounds=6)
    for _ in range(12):
        planner.round()
    assert cloud.state.count("list") == 2
    cloud.runs.resume(RUN.run_id)
    for _ in range(7):
        planner.round()
    assert cloud.state.count("list") == 9 and len(cloud.queue.bulk_jobs) == 5


def test_one_run_that_cannot_be_read_holds_up_no_other() -> None:
    cloud = Cloud()
    cloud.state.put("controller/bulk/active/20250102-030405-0123456789ab", b"")
    cloud.state.put("controller/bulk/runs/20250102-030405-0123456789ab.json", b"no record")
    with pytest.raises(RoundError):
        cloud.planner.round()
    assert len(cloud.queue.bulk_jobs) == 5


def test_a_run_that_does_not_go_on_says_so() -> None:
    cloud = Cloud()
    cloud.planner.round()
    cloud.planner.round()
    cloud.clock.advance(STALLED_SECONDS)
    cloud.planner.round()
    assert cloud.run.problem.startswith("no job has been finished for 10 minutes: can the workers read s3://photos/in/")
    cloud.answer(1)
    cloud.planner.round()
    assert cloud.run.problem == ""


# --- tables --------------------------------------------------------------------------------------

COLUMNS = ("image", "label", "score", "error", "top_k")


@pytest.mark.parametrize("format", Format)
def test_the_output_prefix_is_one_table_to_duckdb(
    format: Format, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud(60, format=format, columns=COLUMNS)
    # Several files, each of few rows.
    monkeypatch.setattr("controller.bulk.tables.MAX_TABLE_BYTES", 1000)
    monkeypatch.setattr("controller.bulk.parquet.ROWS_PER_GROUP", 7)
    cloud.planner.round()
    while delivery := cloud.queue.receive(0):
        assert delivery.job is not None
        part = part_of(delivery.job, lambda key: key.endswith("7.jpg"))
        cloud.labels.put(delivery.job.part_key, part.encode())
        cloud.queue.delete([delivery.receipt_handle])
    cloud.finish()
    for key, stored in cloud.labels.objects.items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(stored.body)
    tables = sorted((tmp_path / "out").glob("labels-*"))
    assert len(tables) > 1
    rows = duckdb.sql(
        f"select image, label, score, error, top_k from '{tmp_path}/out/labels-*.{format}' order by image"
    )
    found = rows.fetchall()  # type: ignore[union-attr]
    assert [row[0] for row in found] == sorted(cloud.source.photos)
    assert {row[1:4] for row in found if not row[0].endswith("7.jpg")} == {("tabby, cat", 0.75, None)}
    assert {row[1:4] for row in found if row[0].endswith("7.jpg")} == {(None, None, "the image is damaged")}
    first = found[0][4] if format is not Format.CSV else json.loads(found[0][4])
    assert first == [{"label": "tabby, cat", "score": 0.75}, {"label": "lynx", "score": 0.25}]
    assert cloud.run.failed_images == 6


def test_without_pyarrow_a_parquet_run_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    cloud = Cloud(3, format=Format.PARQUET)
    cloud.finish()
    assert cloud.run.status is Status.FAILED and "`pip install pyarrow`" in cloud.run.problem
    monkeypatch.undo()
    cloud.runs.resume(RUN.run_id)
    cloud.finish()
    assert len(cloud.labels.objects) == 3
