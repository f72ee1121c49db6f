"""Stand-ins for measurements over any number of images, with constant memory.

Messages and results are encoded and decoded as for the cloud, so that a worker does the same work for each image; no
image or result is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from aws.in_memory.queue import InMemoryJobQueue
from aws.in_memory.stores import InMemoryImageStore, InMemoryObject, InMemoryResultStore
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, ReceivedJob
from core.jobs import ClassificationJob, ClassificationResult, image_key, position_of

BATCH_ID = "20260101-000000-000000000000"
BUCKET = "benchmark"


def make_job(position: int) -> ClassificationJob:
    """The job of the image at `position`."""
    name = f"photo-{position}.jpg"
    return ClassificationJob(f"{position:016x}", BATCH_ID, BUCKET, image_key(BATCH_ID, position, name), name)


class GeneratedJobQueue(InMemoryJobQueue):
    """A queue of `count` jobs, each made when it is received for the first time.

    Args:
        on_deleted: called after each deletion with the number of jobs deleted so far.

    Attributes:
        done: set when all jobs have been deleted.
    """

    def __init__(self, count: int, on_deleted: Callable[[int], None] = lambda deleted: None) -> None:
        super().__init__(time.monotonic, visibility_timeout_seconds=43_200.0, keep_calls=False)
        self.done = threading.Event()
        self._count = count
        self._made = 0
        self._on_deleted = on_deleted

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        with self._lock:
            first, self._made = self._made, min(self._count, self._made + min(max_jobs, MAX_MESSAGES_PER_REQUEST))
            for position in range(first, self._made):
                self.put_body(make_job(position).encode())
        return super().receive(max_jobs, wait_seconds)

    def delete(self, receipt_handles: Sequence[str]) -> None:
        super().delete(receipt_handles)
        deleted = self._made - len(self._messages)
        self._on_deleted(deleted)
        if deleted >= self._count:
            self.done.set()

    def backlog(self) -> Backlog:
        existing = super().backlog()
        return Backlog(existing.visible + self._count - self._made, existing.in_flight)


class RepeatedImageStore(InMemoryImageStore):
    """A store with the images of `make_job`'s jobs, which repeat `bodies`."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        super().__init__(bucket=BUCKET, keep_calls=False)
        self._bodies = bodies

    def _stored(self, key: str) -> InMemoryObject:
        return InMemoryObject(self._bodies[position_of(key) % len(self._bodies)], {"name": key}, self._clock())


class CountingResultStore(InMemoryResultStore):
    """A store that encodes, counts and discards each of `count` results.

    Attributes:
        failed: how many results are failures.
        complete_at: when the last result was stored, in seconds of `time.perf_counter`.
    """

    def __init__(self, count: int) -> None:
        super().__init__(bucket=BUCKET, keep_calls=False)
        self.failed = 0
        self.complete_at = 0.0
        self._missing = count

    def _keep(self, result: ClassificationResult, stored: InMemoryObject) -> None:
        self.failed += result.failure is not None
        self._missing -= 1
        if self._missing == 0:
            self.complete_at = time.perf_counter()
