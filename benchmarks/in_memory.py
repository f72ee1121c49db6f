"""In-memory queue and stores for benchmarks of the worker: they count results and discard them.

Messages and results are encoded and decoded as for the cloud, so that the worker's own work for an image is the same.
Memory does not grow with the number of images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from aws.buckets import StoredImage
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, ReceivedJob
from core.jobs import ClassificationJob, ClassificationResult, image_key, position_of

BATCH_ID = "20260101-000000-000000000000"
BUCKET = "benchmark"
# How often a worker that waits on an empty queue looks whether it was stopped.
_EMPTY_WAIT_SECONDS = 0.02


def make_job(position: int) -> ClassificationJob:
    """The job of the image at `position`."""
    name = f"photo-{position}.jpg"
    return ClassificationJob(f"{position:016x}", BATCH_ID, BUCKET, image_key(BATCH_ID, position, name), name)


class MemoryQueue:
    """A queue of `count` jobs, made as they are received.

    Args:
        on_deleted: called with the number of messages deleted so far, at each deletion.

    Attributes:
        done: set when all of them have been deleted.
    """

    def __init__(self, count: int, on_deleted: Callable[[int], None] = lambda deleted: None) -> None:
        self.done = threading.Event()
        self._deleted = 0
        self._count = count
        self._received = 0
        self._on_deleted = on_deleted

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        """The next jobs, at most ten; waits a moment where there is none left."""
        first = self._received
        self._received = min(self._count, first + min(max_jobs, MAX_MESSAGES_PER_REQUEST))
        if first == self._received:
            time.sleep(min(wait_seconds, _EMPTY_WAIT_SECONDS))
        return [
            ReceivedJob(ClassificationJob.decode(make_job(position).encode()), str(position), 1)
            for position in range(first, self._received)
        ]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Counts the acknowledged."""
        self._deleted += len(receipt_handles)
        self._on_deleted(self._deleted)
        if self._deleted >= self._count:
            self.done.set()

    def extend(self, receipt_handles: Sequence[str], visibility_timeout_seconds: int) -> None:
        """Does nothing: received jobs are never delivered again."""

    def release(self, receipt_handles: Sequence[str]) -> None:
        """Does nothing: received jobs are never delivered again."""

    def backlog(self) -> Backlog:
        """The jobs that are not deleted."""
        return Backlog(visible=self._count - self._received, in_flight=self._received - self._deleted)


class MemoryImages:
    """The images, `bodies` over and over."""

    bucket = BUCKET

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._bodies = bodies

    def get(self, key: str) -> StoredImage:
        """The image of `key`, which `make_job` made."""
        return StoredImage(self._bodies[position_of(key) % len(self._bodies)], key)


class MemoryResults:
    """Encodes each of `count` results and forgets it.

    Attributes:
        failed: how many results are failures.
        complete_at: when the last one came, in seconds of `time.perf_counter`.
    """

    bucket = BUCKET

    def __init__(self, count: int) -> None:
        self.failed = 0
        self.complete_at = 0.0
        self._missing = count
        self._lock = threading.Lock()

    def put(self, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        """Encodes `result` as it would be stored; each is new."""
        result.encode()
        with self._lock:
            self.failed += result.failure is not None
            self._missing -= 1
            if self._missing == 0:
                self.complete_at = time.perf_counter()
