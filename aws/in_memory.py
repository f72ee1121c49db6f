"""In-memory stand-ins for the stores and the queue: they record every call and fail on demand.

They have the signatures and the promises of `aws.buckets` and `aws.queue`; `tests/contract` holds both
sides to the same suite.  Time is a parameter: pass a `ManualClock` where a test is about waiting.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import quote

from aws.batch_index import index_key
from aws.buckets import PresignedPost, StoredImage, StoredObject
from aws.ec2_fleet_launch import Launch, LaunchProblem
from aws.fleet import Instance, free_names
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, ReceivedJob
from aws.state import StateObject
from core.errors import AlreadyExistsError, CloudError, ConflictError, DecodeError, NotFoundError
from core.jobs import ClassificationJob, ClassificationResult
from core.releases import FIRST, Release


class ManualClock:
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


class CallRecorder:
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


class InMemoryImageStore(CallRecorder):
    """An `aws.buckets.ImageStore` in memory; `objects` and `batches` are open to tests."""

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-input") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, _Object] = {}
        self.batches: dict[str, str] = {}
        self._clock = clock or ManualClock()

    def create_batch(self, batch_id: str, record: dict[str, Any]) -> None:
        self._record("create_batch", batch_id)
        self.batches[batch_id] = json.dumps(record)

    def read_batch(self, batch_id: str) -> dict[str, Any]:
        self._record("read_batch", batch_id)
        if batch_id not in self.batches:
            raise NotFoundError(f"reading the batch {batch_id} failed")
        record: dict[str, Any] = json.loads(self.batches[batch_id])
        return record

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

    def presign(self, key: str, name: str, size_bytes: int, expires_seconds: int) -> PresignedPost:
        self._record("presign", key)
        return PresignedPost(f"http://s3.test/{self.bucket}", {"key": key, "x-amz-meta-name": quote(name)})

    def head(self, key: str) -> tuple[str, int]:
        self._record("head", key)
        stored = self._stored(key)
        return stored.metadata["name"], len(stored.body)

    def delete(self, keys: Sequence[str]) -> None:
        self._record("delete", keys)
        for key in keys:
            self.objects.pop(key, None)

    def delete_batch(self, batch_id: str) -> None:
        self._record("delete_batch", batch_id)
        with self._lock:
            self.objects = {key: kept for key, kept in self.objects.items() if not key.startswith(f"{batch_id}/")}
            self.batches.pop(batch_id, None)

    def check(self) -> None:
        self._record("check")

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


class InMemoryResultStore(CallRecorder):
    """An `aws.buckets.ResultStore` in memory; `objects` is open to tests."""

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-output") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, _Object] = {}
        self._clock = clock or ManualClock()

    def put(self, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        self._record("put", result.key)
        body, metadata = result.encode()
        with self._lock:
            if only_if_new and result.key in self.objects:
                raise AlreadyExistsError(f"storing the result failed: {result.key} exists")
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

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        self._record("list", prefix)
        return (stored for stored in _list(self.objects, prefix) if stored.key > start_after)

    def mark_cancelled(self, batch_id: str) -> None:
        self._record("mark_cancelled", batch_id)
        self.objects[f"{batch_id}/cancelled"] = _Object(b"", {}, self._clock())

    def delete_batch(self, batch_id: str) -> None:
        self._record("delete_batch", batch_id)
        with self._lock:
            self.objects = {key: kept for key, kept in self.objects.items() if not key.startswith(f"{batch_id}/")}

    def check(self) -> None:
        self._record("check")

    def _stored(self, key: str) -> _Object:
        if key not in self.objects:
            raise NotFoundError(f"fetching the result failed: {key}")
        return self.objects[key]


def _list(objects: dict[str, _Object], prefix: str) -> Iterator[StoredObject]:
    yield from [objects[key].listed_as(key) for key in sorted(objects) if key.startswith(prefix)]


class InMemoryBatchIndex(CallRecorder):
    """An `aws.batch_index.BatchIndex` in memory; `owners` and `notes` are open to tests."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.owners: set[tuple[str, str]] = set()
        self.notes: dict[str, datetime] = {}
        self._clock = clock or ManualClock()

    def add(self, owner: str, batch_id: str) -> None:
        self._record("add", owner)
        self.owners.add((owner, batch_id))

    def remove(self, owner: str, batch_id: str) -> None:
        self._record("remove", owner)
        self.owners.discard((owner, batch_id))

    def page(self, owner: str, limit: int, after: str = "") -> list[str]:
        self._record("page", owner)
        keys = sorted((index_key(owner, batch_id), batch_id) for whose, batch_id in self.owners if whose == owner)
        start = index_key(owner, after) if after else ""
        return [batch_id for key, batch_id in keys if key > start][:limit]

    def mark_deleted(self, batch_id: str) -> None:
        self._record("mark_deleted", batch_id)
        self.notes[batch_id] = datetime.fromtimestamp(int(self._clock()), UTC)

    def deleted(self) -> Iterator[tuple[str, datetime]]:
        self._record("deleted")
        yield from sorted(self.notes.items())

    def forget_deleted(self, batch_id: str) -> None:
        self._record("forget_deleted", batch_id)
        self.notes.pop(batch_id, None)


class InMemoryStateStore(CallRecorder):
    """An `aws.state.StateStore` in memory; `objects` is open to tests.

    `around`, where a test sets it, is called with each conditional write's method and effect instead of the effect.
    """

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-state") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, _Object] = {}
        self.around: Callable[[str, Callable[[], str]], str] = lambda _method, effect: effect()
        self._clock = clock or ManualClock()
        self._after_effect: dict[str, Exception] = {}

    def fail_after_effect(self, method: str) -> None:
        """The next call of `method` takes effect, and its answer gets lost."""
        self._after_effect[method] = CloudError(f"{method} failed after its effect, as planned by the test")

    def answer_with_conflict_after_effect(self, method: str) -> None:
        """The next call of `method` takes effect, and a retry of it meets that effect."""
        self._after_effect[method] = ConflictError()

    def get(self, key: str) -> StateObject | None:
        self._record("get", key)
        stored = self.objects.get(key)
        return None if stored is None else StateObject(stored.body, stored.listed_as(key).etag)

    def put(self, key: str, body: bytes) -> str:
        self._record("put", key)
        return self._put(key, body)

    def create(self, key: str, body: bytes) -> str:
        self._record("create", key)

        def effect() -> str:
            if key in self.objects:
                raise ConflictError()
            return self._put(key, body)

        return self._write("create", effect)

    def replace(self, key: str, body: bytes, etag: str) -> str:
        self._record("replace", key)

        def effect() -> str:
            if key not in self.objects or self.objects[key].listed_as(key).etag != etag:
                raise ConflictError()
            return self._put(key, body)

        return self._write("replace", effect)

    def delete(self, key: str) -> None:
        self._record("delete", key)
        self.objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._record("list", prefix)
        return _list(self.objects, prefix)

    def _write(self, method: str, effect: Callable[[], str]) -> str:
        etag = self.around(method, effect)
        if method in self._after_effect:
            raise self._after_effect.pop(method)
        return etag

    def _put(self, key: str, body: bytes) -> str:
        self.objects[key] = _Object(body, {}, self._clock())
        return self.objects[key].listed_as(key).etag


class InMemoryFleet(CallRecorder):
    """An `aws.fleet.Fleet` in memory; `instances` is open to tests.

    `capacity` is how many more instances can be launched, `problem` why no others can.  EC2
    describes what it has launched `lag_seconds` later.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.instances: dict[str, Instance] = {}
        self.capacity = math.inf
        self.problem = LaunchProblem("InsufficientInstanceCapacity", "EC2 has no capacity", retryable=True)
        self.lag_seconds = 0.0
        self.highest = 0
        self._clock = clock or ManualClock()
        self._answers: dict[str, Launch] = {}
        self._numbers = itertools.count(1)

    def add(self, name: str = "", launched_at: float | None = None, release: int = 0) -> str:
        """One more instance, launched by somebody; returns its id."""
        instance_id = f"i-{next(self._numbers):04d}"
        at = datetime.fromtimestamp(self._clock() if launched_at is None else launched_at, UTC)
        self.instances[instance_id] = Instance(instance_id, name, "running", at, release)
        self.highest = max(self.highest, len(self.instances))
        return instance_id

    def describe(self) -> list[Instance]:
        self._record("describe")
        described_from = self._clock() - self.lag_seconds
        return [one for one in self.instances.values() if one.launched_at.timestamp() <= described_from]

    def ended(self, instance_ids: Sequence[str]) -> set[str]:
        self._record("ended", list(instance_ids))
        return set(instance_ids) - set(self.instances)

    def launch(self, count: int, client_token: str, release: Release = FIRST) -> Launch:
        self._record("launch", count)
        if client_token not in self._answers:
            possible = int(min(count, self.capacity))
            self.capacity -= possible
            launched = tuple(self.add(release=release.number) for _ in range(possible))
            self._answers[client_token] = Launch(launched, None if possible == count else self.problem)
        answer = self._answers[client_token]
        self._record("launched", count)
        return answer

    def name(self, instance_ids: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
        self._record("name", list(instance_ids))
        given = dict(zip(instance_ids, free_names(taken, len(instance_ids)), strict=True))
        for instance_id, name in given.items():
            if instance_id in self.instances:
                self.instances[instance_id] = replace(self.instances[instance_id], name=name)
        return given

    def terminate(self, instance_ids: Sequence[str]) -> None:
        self._record("terminate", list(instance_ids))
        for instance_id in instance_ids:
            self.instances.pop(instance_id, None)


@dataclass
class _Message:
    body: str
    number: int
    visible_at_seconds: float = 0.0
    receive_count: int = 0
    receipt_handle: str = field(default="")


class InMemoryJobQueue(CallRecorder):
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
        self._clock = clock or ManualClock()
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
        if not chosen and wait_seconds == 0:
            time.sleep(0.001)  # a loop that asks again at once would starve the threads it waits for
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
