"""In-memory stand-ins for the queue of bulk jobs and for the source of their photos."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from aws.bulk_queue import ReceivedBulkJob, decode_bulk_job, request_sized
from aws.in_memory.queue import InMemoryJobQueue
from aws.in_memory.recorder import CallRecorder
from core.bulk_run import BulkJob
from core.errors import ImageTooLargeError, NotFoundError


class InMemoryBulkQueue(InMemoryJobQueue):
    """An `aws.bulk_queue.BulkQueue` in memory; see `InMemoryJobQueue`."""

    def send(self, jobs: Iterable[BulkJob]) -> int:  # type: ignore[override]
        count = 0
        for bodies in request_sized(job.encode() for job in jobs):
            self._record("send", bodies)
            for body in bodies:
                self.put_body(body)
            count += len(bodies)
        return count

    def receive(self, wait_seconds: int) -> ReceivedBulkJob | None:  # type: ignore[override]
        for message in self._receive(1, wait_seconds):
            return ReceivedBulkJob(decode_bulk_job(message.body), message.receipt_handle, message.receive_count)
        return None

    @property
    def bulk_jobs(self) -> list[BulkJob]:
        """The jobs that are not deleted, oldest first."""
        found = [decode_bulk_job(message.body) for message in self.messages]
        return [job for job in found if job is not None]


class InMemoryPhotoSource(CallRecorder):
    """An `aws.bulk_buckets.PhotoSource` in memory; tests may access `photos`."""

    def __init__(self, max_image_bytes: int = sys.maxsize, *, keep_calls: bool = True) -> None:
        super().__init__(keep_calls=keep_calls)
        self.photos: dict[str, bytes] = {}
        self._max_image_bytes = max_image_bytes

    def get(self, key: str) -> bytes:
        self._record("get", key)
        if key not in self.photos:
            raise NotFoundError(f"fetching the photo failed: {key}")
        if len(self.photos[key]) > self._max_image_bytes:
            raise ImageTooLargeError
        return self.photos[key]

    def list_keys(self, prefix: str, start_after: str = "") -> Iterator[str]:
        self._record("list_keys", prefix)
        return (key for key in sorted(self.photos) if key.startswith(prefix) and key > start_after)
