"""In-memory stand-ins for the stores and the queue: they record every call and fail on demand.

They have the signatures and the promises of `aws.buckets` and `aws.queue`; `tests/contract` holds both
sides to the same suite.  Time is a parameter: pass a `FakeClock` where a test is about waiting.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from aws.buckets import StoredImage, StoredObject
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, ReceivedJob
from core.errors import AlreadyExistsError, CloudError, DecodeError, NotFoundError
from core.jobs import ClassificationJob, ClassificationResult


class FakeClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now_seconds: float = 1_700_000_000.0) -> None:
        self.now_seconds = now_seconds

    def __call__(self) -> float:
        return self.now_seconds

    def advance(self, seconds: float) -> None:
        self.now_seconds += seconds


@dataclass
class _PlannedFailure:
    error: Exception
    times_left: float
    where: Callable[..., bool]


class Recorder:
    """Records calls as ``(method, first argument)`` and raises the failures that a test has planned."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self._planned: dict[str, list[_PlannedFailure]] = {}
        self._lock = threading.RLock()

    def fail_next(
        self,
        method: str,
        times: float = 1,
        error: Exception | None = None,
        where: Callable[..., bool] = lambda *_arguments: True,
    ) -> None:
        """Makes the next `times` calls of `method` fail, of those whose positional arguments satisfy `where`.

        Args:
            times: how many; ``math.inf`` for every one.
            error: what is raised; a `CloudError` where not given.
        """
        failure = _PlannedFailure(error or CloudError(f"{method} failed, as planned by the test"), times, where)
        self._planned.setdefault(method, []).append(failure)

    def count(self, method: str) -> int:
        """How often `method` was called, failures included."""
        return sum(name == method for name, _argument in self.calls)

    def _record(self, method: str, *arguments: Any) -> None:
        with self._lock:
            self.calls.append((method, arguments[0] if arguments else None))
            for failure in self._planned.get(method, []):
                if failure.times_left > 0 and failure.where(*arguments):
                    failure.times_left -= 1
                    raise failure.error


@dataclass(frozen=True)
class _Object:
    body: bytes
    metadata: dict[str, str]
    last_modified_seconds: float

    def listed_as(self, key: str) -> StoredObject:
        # S3's listings know whole seconds only.
        modified = datetime.fromtimestamp(int(self.last_modified_seconds), UTC)
        etag = f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'
        return StoredObject(key, len(self.body), etag, modified)


class FakeImageStore(Recorder):
    """An `aws.buckets.ImageStore` in memory; `objects` and `batches` are open to tests."""

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-input") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, _Object] = {}
        self.batches: dict[str, str] = {}
        self._clock = clock or FakeClock()

    def create_batch(self, batch_id: str, record: dict[str, Any]) -> None:
        self._record("create_batch", batch_id)
        self.batches[batch_id] = json.dumps(record)

    def read_batch(self, batch_id: str) -> dict[str, Any]:
        self._record("read_batch", batch_id)
        if batch_id not in self.batches:
            raise NotFoundError(f"reading the batch {batch_id} failed")
        return json.loads(self.batches[batch_id])

    def put(self, key: str, body: IO[bytes] | bytes, name: str, *, only_if_new: bool = False) -> None:
        self._record("put", key)
        content = body if isinstance(body, bytes) else body.read()
        with self._lock:
            if only_if_new and key in self.objects:
                raise AlreadyExistsError(f"storing the image failed: {key} exists")
            self.objects[key] = _Object(content, {"name": name}, self._clock())

    def get(self, key: str) -> StoredImage:
        self._record("get", key)
        stored = self._stored(key)
        return StoredImage(body=stored.body, name=stored.metadata["name"])

    def name(self, key: str) -> str:
        self._record("name", key)
        return self._stored(key).metadata["name"]

    def batches_since(self, since: datetime) -> Iterator[str]:
        self._record("batches_since", since)
        yield from sorted(batch_id for batch_id in self.batches if batch_id >= f"{since:%Y%m%d-%H%M%S}")

    def list(self, batch_id: str) -> Iterator[StoredObject]:
        self._record("list", batch_id)
        return _list(self.objects, f"{batch_id}/")

    def _stored(self, key: str) -> _Object:
        if key not in self.objects:
            raise NotFoundError(f"fetching the image failed: {key}")
        return self.objects[key]


class FakeResultStore(Recorder):
    """An `aws.buckets.ResultStore` in memory; `objects` is open to tests."""

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-output") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, _Object] = {}
        self._clock = clock or FakeClock()

    def put(self, result: ClassificationResult) -> None:
        self._record("put", result.key)
        body, metadata = result.encode()
        self.objects[result.key] = _Object(body, metadata, self._clock())

    def put_garbage(self, key: str, body: bytes = b"\xff\xfe not a result") -> None:
        """Stores an object that is no result, as a person with access to the bucket could."""
        self.objects[key] = _Object(body, {}, self._clock())

    def get(self, key: str) -> ClassificationResult:
        self._record("get", key)
        stored = self._stored(key)
        return ClassificationResult.decode(key, stored.body, stored.metadata)

    def exists(self, key: str) -> bool:
        self._record("exists", key)
        return key in self.objects

    def line(self, key: str) -> str:
        self._record("line", key)
        try:
            return self._stored(key).body.decode().rstrip("\n")
        except UnicodeDecodeError as error:
            raise DecodeError(f"{key} is not a result: not text") from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self._record("list", prefix)
        return _list(self.objects, prefix)

    def _stored(self, key: str) -> _Object:
        if key not in self.objects:
            raise NotFoundError(f"fetching the result failed: {key}")
        return self.objects[key]


def _list(objects: dict[str, _Object], prefix: str) -> Iterator[StoredObject]:
    yield from [objects[key].listed_as(key) for key in sorted(objects) if key.startswith(prefix)]


@dataclass
class _Message:
    body: str
    number: int
    visible_at_seconds: float = 0.0
    receive_count: int = 0
    receipt_handle: str = field(default="")


class FakeJobQueue(Recorder):
    """An `aws.queue.JobQueue` in memory: at-least-once, with a visibility timeout and dead letters.

    `receive` never waits; `wait_seconds` is recorded by nobody and costs nothing.

    Args:
        clock: seconds; decides when a received job becomes visible again.
        visibility_timeout_seconds: how long a delivery hides its job.
        max_receive_count: deliveries after which a job moves to `dead_letters`.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        visibility_timeout_seconds: float = 30.0,
        max_receive_count: int = 5,
    ) -> None:
        super().__init__()
        self.dead_letters: list[str] = []
        self._clock = clock or FakeClock()
        self._visibility_timeout_seconds = visibility_timeout_seconds
        self._max_receive_count = max_receive_count
        self._messages: list[_Message] = []
        self._numbers = itertools.count(1)

    @property
    def jobs(self) -> list[ClassificationJob]:
        """The jobs that are not done, oldest first; poison is left out."""
        found = [_decode(message.body) for message in self._messages]
        return [job for job in found if job is not None]

    def put_body(self, body: str) -> None:
        """Enqueues a message with any body, such as poison."""
        self._messages.append(_Message(body, next(self._numbers)))

    def send(self, jobs: Iterable[ClassificationJob]) -> int:
        count = 0
        iterator = iter(jobs)
        while chunk := list(itertools.islice(iterator, MAX_MESSAGES_PER_REQUEST)):
            self._record("send", chunk)
            for job in chunk:
                self.put_body(job.encode())
            count += len(chunk)
        return count

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        self._record("receive", max_jobs)
        with self._lock:
            self._bury()
            now = self._clock()
            chosen = [message for message in self._messages if message.visible_at_seconds <= now]
            chosen = chosen[: min(max_jobs, MAX_MESSAGES_PER_REQUEST)]
            for message in chosen:
                message.receive_count += 1
                message.visible_at_seconds = now + self._visibility_timeout_seconds
                message.receipt_handle = f"{message.number}#{message.receive_count}"
            return [ReceivedJob(_decode(m.body), m.receipt_handle, m.receive_count) for m in chosen]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        self._record("delete", list(receipt_handles))
        # SQS deletes by an older delivery's handle too, as long as the message lives.
        numbers = {int(handle.partition("#")[0]) for handle in receipt_handles}
        with self._lock:
            self._messages = [message for message in self._messages if message.number not in numbers]

    def extend(self, receipt_handles: Sequence[str], visibility_timeout_seconds: int) -> None:
        self._record("extend", list(receipt_handles))
        self._hide(receipt_handles, visibility_timeout_seconds)

    def release(self, receipt_handles: Sequence[str]) -> None:
        self._record("release", list(receipt_handles))
        self._hide(receipt_handles, 0)

    def backlog(self) -> Backlog:
        self._record("backlog")
        with self._lock:
            self._bury()
            now = self._clock()
            visible = sum(message.visible_at_seconds <= now for message in self._messages)
            return Backlog(visible=visible, in_flight=len(self._messages) - visible)

    def _hide(self, receipt_handles: Sequence[str], seconds: float) -> None:
        now = self._clock()
        with self._lock:
            for message in self._messages:
                # Only the latest delivery, and only while it lasts, can be extended.
                if message.receipt_handle in receipt_handles and message.visible_at_seconds > now:
                    message.visible_at_seconds = now + seconds

    def _bury(self) -> None:
        now = self._clock()
        dead = [
            message
            for message in self._messages
            if message.visible_at_seconds <= now and message.receive_count >= self._max_receive_count
        ]
        self.dead_letters.extend(message.body for message in dead)
        self._messages = [message for message in self._messages if message not in dead]


def _decode(body: str) -> ClassificationJob | None:
    try:
        return ClassificationJob.decode(body)
    except DecodeError:
        return None
