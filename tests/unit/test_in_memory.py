"""The in-memory stand-ins take what the cloud's classes take; those for measurements keep nothing.

What they do is compared with the embedded cloud by `tests/contract`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.fleet import Fleet
from aws.in_memory import (
    InMemoryBatchIndex,
    InMemoryFleet,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryResultStore,
    InMemoryStateStore,
)
from aws.in_memory.load import BUCKET, CountingResultStore, GeneratedJobQueue, RepeatedImageStore
from aws.queue import Backlog, JobQueue
from aws.state import StateStore
from core.jobs import ClassificationResult, Failure, Prediction

PAIRS = [
    (InMemoryJobQueue, JobQueue),
    (InMemoryImageStore, ImageStore),
    (InMemoryResultStore, ResultStore),
    (InMemoryBatchIndex, BatchIndex),
    (InMemoryStateStore, StateStore),
    (InMemoryFleet, Fleet),
    (GeneratedJobQueue, JobQueue),
    (RepeatedImageStore, ImageStore),
    (CountingResultStore, ResultStore),
]


def parameters(method: Callable[..., Any]) -> list[tuple[str, inspect._ParameterKind, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("stand_in", "real", "name"),
    [(stand_in, real, name) for stand_in, real in PAIRS for name in vars(real) if not name.startswith("_")],
)
def test_a_stand_in_takes_what_the_real_one_takes(stand_in: type, real: type, name: str) -> None:
    assert parameters(getattr(stand_in, name)) == parameters(getattr(real, name))


def test_jobs_are_made_as_they_are_received_each_once() -> None:
    deleted: list[int] = []
    queue = GeneratedJobQueue(25, deleted.append)
    assert queue.backlog() == Backlog(visible=25, in_flight=0)
    names: list[str] = []
    while received := queue.receive(10, 0):
        assert not queue.done.is_set()
        names += [delivery.job.name for delivery in received if delivery.job is not None]
        queue.delete([delivery.receipt_handle for delivery in received])
    assert names == [f"photo-{position}.jpg" for position in range(25)]
    assert deleted == [10, 20, 25] and queue.done.is_set()
    assert queue.backlog() == Backlog(0, 0) and not queue.messages and not queue.calls


def test_a_measurement_of_many_images_takes_no_memory_for_each() -> None:
    queue = GeneratedJobQueue(2000)
    while received := queue.receive(10, 0):
        queue.delete([delivery.receipt_handle for delivery in received])
        assert len(queue._hidden) + len(queue._visible) < 200
    assert queue.done.is_set()


def test_photos_repeat_and_results_are_counted_and_forgotten() -> None:
    queue, images, results = GeneratedJobQueue(5), RepeatedImageStore([b"a", b"b"]), CountingResultStore(5)
    jobs = [delivery.job for delivery in queue.receive(10, 0) if delivery.job is not None]
    assert [images.get(job.key) for job in jobs] == [b"a", b"b", b"a", b"b", b"a"]
    assert {job.bucket for job in jobs} == {images.bucket, results.bucket} == {BUCKET}
    for job in jobs[1:]:
        results.put(ClassificationResult(job.key, job.name, (Prediction("cat", 0.5),)))
    assert results.complete_at == 0.0
    results.put(ClassificationResult(jobs[0].key, jobs[0].name, failure=Failure("broken", "it is broken")))
    assert results.complete_at > 0.0 and results.failed == 1
    assert not (results.objects or images.objects or results.calls or images.calls)
