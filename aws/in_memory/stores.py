"""In-memory stand-ins for the buckets, the batch index and the state store."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO
from urllib.parse import quote

from aws.batch_index import index_key
from aws.buckets import PresignedPost, StoredObject, is_answerable, is_misplaced, result_line
from aws.in_memory.clock import ManualClock
from aws.in_memory.recorder import CallRecorder
from aws.objects import only_ours
from aws.result_packs import encode_pack
from aws.state import MAX_BYTES, StateObject
from core.batch_record import BatchRecord
from core.errors import AlreadyExistsError, CloudError, ConflictError, ImageTooLargeError, NotFoundError
from core.image_layouts import is_named, result_key
from core.jobs import ClassificationResult, clean_name, is_batch_id
from core.object_keys import CANCELLED_MARKS, DROPPED, IMAGES, RESULT_TABLES, KeyFamily


@dataclass(frozen=True)
class InMemoryObject:
    """An object of a bucket: its body with its metadata."""

    body: bytes
    metadata: dict[str, str]
    last_modified_seconds: float

    def listed_as(self, key: str) -> StoredObject:
        # S3's listings have whole seconds only.
        modified = datetime.fromtimestamp(int(self.last_modified_seconds), UTC)
        etag = f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'
        return StoredObject(key, len(self.body), etag, modified)


class InMemoryImageStore(CallRecorder):
    """An `aws.buckets.ImageStore` in memory; tests may access `objects` and `batches`."""

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        bucket: str = "test-input",
        *,
        max_image_bytes: int = sys.maxsize,
        keep_calls: bool = True,
    ) -> None:
        super().__init__(keep_calls=keep_calls)
        self.bucket = bucket
        self._max_image_bytes = max_image_bytes
        self.objects: dict[str, InMemoryObject] = {}
        self.batches: dict[str, str] = {}
        self._clock = clock or ManualClock()

    def create_batch(self, batch_id: str, record: BatchRecord) -> None:
        self._record("create_batch", batch_id)
        self.batches[batch_id] = record.encode().decode()

    def read_batch(self, batch_id: str) -> BatchRecord:
        self._record("read_batch", batch_id)
        if batch_id not in self.batches:
            raise NotFoundError(f"reading the batch {batch_id} failed")
        return BatchRecord.decode(self.batches[batch_id].encode())

    def has_batch(self, batch_id: str) -> bool:
        self._record("has_batch", batch_id)
        return batch_id in self.batches

    def update_batch(self, batch_id: str, change: Callable[[BatchRecord], BatchRecord]) -> BatchRecord:
        self._record("update_batch", batch_id)
        with self._lock:
            if batch_id not in self.batches:
                raise NotFoundError(f"reading the batch {batch_id} failed")
            record = change(BatchRecord.decode(self.batches[batch_id].encode()))
            self.batches[batch_id] = record.encode().decode()
        return record

    def put(self, key: str, body: IO[bytes] | bytes, name: str, *, only_if_new: bool = False) -> None:
        self._record("put", key)
        content = body if isinstance(body, bytes) else body.read()
        with self._lock:
            if only_if_new and key in self.objects:
                raise AlreadyExistsError(f"storing the image failed: {key} exists")
            self.objects[key] = InMemoryObject(content, {"name": name}, self._clock())

    def get(self, key: str) -> bytes:
        self._record("get", key)
        stored = self._stored(key)
        if len(stored.body) > self._max_image_bytes:
            raise ImageTooLargeError
        return stored.body

    def name(self, key: str) -> str:
        self._record("name", key)
        return clean_name(self._stored(key).metadata["name"])

    def presign(self, key: str, name: str, size_bytes: int, expires_seconds: int) -> PresignedPost:
        self._record("presign", key)
        return PresignedPost(f"http://s3.test/{self.bucket}", {"key": key, "x-amz-meta-name": quote(name)})

    def head(self, key: str) -> tuple[str, int]:
        self._record("head", key)
        stored = self._stored(key)
        return clean_name(stored.metadata["name"]), len(stored.body)

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
        start = f"{since:%Y%m%d-%H%M%S}"
        yield from sorted(batch_id for batch_id in self.batches if batch_id >= start and is_batch_id(batch_id))

    def list(self, batch_id: str) -> Iterator[StoredObject]:
        self._record("list", batch_id)
        return only_ours(_list(self.objects, f"{batch_id}/"), self.bucket, IMAGES)

    def list_dropped(self) -> Iterator[StoredObject]:
        self._record("list_dropped")
        return (stored for stored in _list(self.objects, DROPPED.prefix) if DROPPED.owns(stored.key))

    def list_misplaced(self) -> Iterator[str]:
        self._record("list_misplaced")
        top = {"".join(key.partition("/")[:2]) for key in self.objects}
        return (name for name in sorted(top) if is_misplaced(name))

    def _stored(self, key: str) -> InMemoryObject:
        if key not in self.objects:
            raise NotFoundError(f"fetching the image failed: {key}")
        return self.objects[key]


class InMemoryResultStore(CallRecorder):
    """An `aws.buckets.ResultStore` in memory; tests may access `objects`."""

    def __init__(
        self, clock: Callable[[], float] | None = None, bucket: str = "test-output", *, keep_calls: bool = True
    ) -> None:
        super().__init__(keep_calls=keep_calls)
        self.bucket = bucket
        self.objects: dict[str, InMemoryObject] = {}
        self._clock = clock or ManualClock()

    def put(self, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        self._record("put", result.key)
        body, metadata = result.encode()
        with self._lock:
            if only_if_new and result_key(result.key) in self.objects:
                raise AlreadyExistsError(f"storing the result failed: {result.key} exists")
            self._keep(result, InMemoryObject(body, metadata, self._clock()))

    def put_together(self, results: Sequence[ClassificationResult]) -> None:
        self._record("put_together", [result.key for result in results])
        encode_pack(results)  # refuses what cannot be stored together
        with self._lock:
            for result in results:
                body, metadata = result.encode()
                self._keep(result, InMemoryObject(body, metadata, self._clock()))

    def put_garbage(self, key: str, body: bytes = b"\xff\xfe not a result") -> None:
        """Store an object that is not a result, as another program could."""
        self.objects[key] = InMemoryObject(body, {}, self._clock())

    def get(self, key: str) -> ClassificationResult:
        self._record("get", key)
        stored = self._stored(key)
        return ClassificationResult.decode(key, stored.body, stored.metadata)

    def exists(self, key: str) -> bool:
        self._record("exists", key)
        return result_key(key) in self.objects

    def line(self, key: str) -> str:
        self._record("line", key)
        return result_line(key, self._stored(key).body)

    def delete(self, key: str) -> None:
        self._record("delete", key)
        self.objects.pop(result_key(key), None)

    def list_named(self, start_after: str = "") -> Iterator[str]:
        self._record("list_named", start_after)
        yield from sorted(key for key in self.objects if is_named(key) and key > start_after)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        self._record("list", prefix)
        listing = (stored for stored in _list(self.objects, prefix) if stored.key > start_after)
        ours = only_ours(listing, self.bucket, IMAGES, DROPPED, CANCELLED_MARKS, RESULT_TABLES)
        return (stored for stored in ours if is_answerable(stored.key))

    def list_batch(self, batch_id: str) -> tuple[Sequence[StoredObject], bool]:
        return list(self.list(f"{batch_id}/")), CANCELLED_MARKS.key_of(batch_id) in self.objects

    def mark_cancelled(self, batch_id: str) -> None:
        self._record("mark_cancelled", batch_id)
        self.objects[CANCELLED_MARKS.key_of(batch_id)] = InMemoryObject(b"", {}, self._clock())

    def put_table(self, batch_id: str, table: IO[bytes], digest: str) -> None:
        self._record("put_table", batch_id)
        stored = InMemoryObject(table.read(), {"results": digest}, self._clock())
        self.objects[RESULT_TABLES.key_of(batch_id)] = stored

    def table_digest(self, batch_id: str) -> str | None:
        self._record("table_digest", batch_id)
        stored = self.objects.get(RESULT_TABLES.key_of(batch_id))
        return None if stored is None else stored.metadata.get("results", "")

    def delete_batch(self, batch_id: str) -> None:
        self._record("delete_batch", batch_id)
        with self._lock:
            self.objects = {key: kept for key, kept in self.objects.items() if not key.startswith(f"{batch_id}/")}

    def check(self) -> None:
        self._record("check")

    def _keep(self, result: ClassificationResult, stored: InMemoryObject) -> None:
        self.objects[result_key(result.key)] = stored

    def _stored(self, key: str) -> InMemoryObject:
        if (found := self.objects.get(result_key(key))) is None:
            raise NotFoundError(f"fetching the result failed: {key}")
        return found


def _list(objects: dict[str, InMemoryObject], prefix: str) -> Iterator[StoredObject]:
    yield from [objects[key].listed_as(key) for key in sorted(objects) if key.startswith(prefix)]


class InMemoryBatchIndex(CallRecorder):
    """An `aws.batch_index.BatchIndex` in memory; tests may access `owners` and `notes`."""

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
        ours = (batch_id for whose, batch_id in self.owners if whose == owner and is_batch_id(batch_id))
        keys = sorted((index_key(owner, batch_id), batch_id) for batch_id in ours)
        start = index_key(owner, after) if after else ""
        return [batch_id for key, batch_id in keys if key > start][:limit]

    def mark_deleted(self, batch_id: str) -> None:
        self._record("mark_deleted", batch_id)
        self.notes[batch_id] = datetime.fromtimestamp(int(self._clock()), UTC)

    def deleted(self) -> Iterator[tuple[str, datetime]]:
        self._record("deleted")
        yield from sorted((batch_id, at) for batch_id, at in self.notes.items() if is_batch_id(batch_id))

    def forget_deleted(self, batch_id: str) -> None:
        self._record("forget_deleted", batch_id)
        self.notes.pop(batch_id, None)


class InMemoryStateStore(CallRecorder):
    """An `aws.state.StateStore` in memory; tests may access `objects`.

    A test may set `around`, which is called with the method and the effect of each conditional write, in place of the
    effect.
    """

    def __init__(self, clock: Callable[[], float] | None = None, bucket: str = "test-state") -> None:
        super().__init__()
        self.bucket = bucket
        self.objects: dict[str, InMemoryObject] = {}
        self.around: Callable[[str, Callable[[], str]], str] = lambda _method, effect: effect()
        self._clock = clock or ManualClock()
        self._after_effect: dict[str, Exception] = {}

    def fail_after_effect(self, method: str) -> None:
        """Let the next call of `method` take effect and then fail, as if its response were lost."""
        self._after_effect[method] = CloudError(f"{method} failed after its effect, as planned by the test")

    def answer_with_conflict_after_effect(self, method: str) -> None:
        """Let the next call of `method` take effect and then raise a conflict, as if a retry had found its effect."""
        self._after_effect[method] = ConflictError()

    def get(self, key: str, max_bytes: int = MAX_BYTES) -> StateObject | None:
        self._record("get", key)
        stored = self.objects.get(key)
        return None if stored is None else StateObject(stored.body[: max_bytes + 1], stored.listed_as(key).etag)

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

    def delete_all(self, keys: Iterable[str]) -> None:
        self._record("delete_all")
        for key in keys:
            self.objects.pop(key, None)

    def put_file(self, key: str, file: IO[bytes], content_type: str) -> None:
        self._record("put_file", key)
        self._put(key, file.read())

    def list(self, family: KeyFamily, start_after: str = "") -> Iterator[StoredObject]:
        self._record("list", family.prefix)
        listing = (stored for stored in _list(self.objects, family.prefix) if stored.key > start_after)
        return only_ours(listing, f"{self.bucket}/{family.prefix}", family)

    def _write(self, method: str, effect: Callable[[], str]) -> str:
        etag = self.around(method, effect)
        if method in self._after_effect:
            raise self._after_effect.pop(method)
        return etag

    def _put(self, key: str, body: bytes) -> str:
        self.objects[key] = InMemoryObject(body, {}, self._clock())
        return self.objects[key].listed_as(key).etag
