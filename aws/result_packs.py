"""Result packs: the results of several images of one batch in one object, which costs one request instead of many.

A pack is a text file of JSON lines, each with an image's `key`, the `line` of its result object, and that object's
metadata as `result`.  Its key is ``<batch id>/<highest position in it>_<digest>.jsonl``: a pack that is sent again is
the same object, and a listing that starts at an image's position finds all packs that may have it.

An image may have several results, in packs and in an object of its own, since a job may be delivered twice, and since
the janitor answers dead letters that an operator may enqueue again.  `choose` decides which of them counts.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from aws.objects import StoredObject
from core.errors import DecodeError, NotFoundError
from core.jobs import ClassificationResult, batch_of, is_key, position_of
from core.object_keys import RESULT_PACKS
from core.versioned_json import Record, record

MAX_RESULTS = 50
MAX_BYTES = 1024 * 1024
# What a result takes in a pack beside its own line and metadata is much less.
_MAX_LINE_BYTES = 64 * 1024
# Answers of the program itself for an image that no worker has answered: a worker's answer replaces them, and they
# never replace one, in whichever order both are stored.
_PROVISIONAL = ("gave_up", "cancelled", "missing")
_CACHED_RESULTS = 50_000
_KEPT_SECONDS = 600.0
_PARALLEL_READS = 8

log = logging.getLogger(__name__)


@record("a result in a pack", version=1, max_bytes=_MAX_LINE_BYTES)
@dataclass(frozen=True, slots=True)
class PackLine(Record):
    """One result in a pack: the key of its image, the body of a result object, and its metadata entry."""

    key: str
    line: str
    result: str


@dataclass(frozen=True, slots=True)
class PackedResult:
    """A result as it is stored: the body and the metadata entry of a result object, when, and in which object."""

    body: str
    detail: str
    stored_at: datetime
    source: str

    def listed_as(self, key: str) -> StoredObject:
        """The row of a listing: size and entity tag are those that an object of its own would have."""
        body = self.body.encode()
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return StoredObject(key, len(body), f'"{etag}"', self.stored_at)

    def decode(self, key: str) -> ClassificationResult:
        """Decode the result of the image with this key.

        Raises:
            DecodeError: it was not written by `ClassificationResult.encode`.
        """
        return ClassificationResult.decode(key, self.body.encode(), {"result": self.detail})


def choose(key: str, stored: Sequence[PackedResult]) -> PackedResult:
    """The one of an image's results that counts: the latest, but a provisional one only where there is no other."""

    def precedence(result: PackedResult) -> tuple[int, datetime, bool, str]:
        try:
            failure = result.decode(key).failure
        except DecodeError:
            return 0, result.stored_at, False, result.source
        provisional = failure is not None and failure.code in _PROVISIONAL
        # S3's times have a resolution of a second.
        return 1 if provisional else 2, result.stored_at, failure is None, result.source

    return stored[0] if len(stored) == 1 else max(stored, key=precedence)


def encode_pack(results: Sequence[ClassificationResult]) -> tuple[str, bytes]:
    """The key and the body of a pack.

    Raises:
        ValueError: it would be empty or too large, or the images are not of one batch.
    """
    if not 0 < len(results) <= MAX_RESULTS:
        raise ValueError(f"a pack has 1 to {MAX_RESULTS} results")
    [batch_id] = {batch_of(result.key) for result in results}
    lines: list[bytes] = []
    for result in sorted(results, key=lambda result: result.key):
        body, metadata = result.encode()
        lines.append(PackLine(result.key, body.decode(), metadata["result"]).encode())
    pack = b"".join(line + b"\n" for line in lines)
    if len(pack) > MAX_BYTES:
        raise ValueError("the results of a pack are too long")
    position = max(position_of(result.key) for result in results)
    return RESULT_PACKS.key_of(f"{batch_id}/{position:05d}_{hashlib.sha256(pack).hexdigest()[:16]}"), pack


def decode_pack(stored: StoredObject, body: bytes) -> dict[str, PackedResult]:
    """The results in a pack, by the key of the image; a line that cannot be decoded is logged and left out.

    Its image has no result then, and the janitor enqueues it again.
    """
    found: dict[str, PackedResult] = {}
    batch_id = batch_of(stored.key)
    if len(body) > MAX_BYTES:
        log.error("%s: longer than %d bytes", stored.key, MAX_BYTES)
        return found
    for number, text in enumerate(body.splitlines(), 1):
        try:
            line = PackLine.decode(text)
            if not is_key(line.key) or batch_of(line.key) != batch_id:
                raise DecodeError(f"{line.key!r} is not the key of an image of the batch")
            found[line.key] = PackedResult(line.line, line.result, stored.last_modified, stored.key)
        except DecodeError as error:
            log.error("%s, line %d: %s", stored.key, number, error)
    return found


@dataclass(slots=True)
class _BatchPacks:
    """What was read of a batch: by the object's key, its entity tag and what was in it."""

    used_at: float
    objects: dict[str, tuple[str, dict[str, PackedResult]]] = field(default_factory=dict)


class PackIndex:
    """The packs of some batches that were read, so that each is read once; safe to share between threads.

    Results in objects of their own are kept here only where a pack has the same image, so that `find` has both.
    Batches that were not listed for ten minutes are dropped, and of more than some ten thousand results those of the
    batches that were listed least recently.

    Args:
        read: reads the results in an object, by the key of the image; raises `NotFoundError`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[[StoredObject], dict[str, PackedResult]],
        max_results: int = _CACHED_RESULTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._max_results = max_results
        self._clock = clock
        self._lock = threading.Lock()
        # Those used least recently come first.
        self._batches: OrderedDict[str, _BatchPacks] = OrderedDict()
        self._count = 0

    def load(self, objects: Sequence[StoredObject]) -> dict[str, list[PackedResult]]:
        """The results in the listed objects, by the key of the image; reads those that were not read before."""
        known = {stored.key: self._known(stored) for stored in objects}
        missing = [stored for stored in objects if known[stored.key] is None]
        for stored, results in zip(missing, self._read_all(missing), strict=True):
            self._keep(stored, results)
            known[stored.key] = results
        found: dict[str, list[PackedResult]] = {}
        for results_of_one in known.values():
            for key, result in (results_of_one or {}).items():
                found.setdefault(key, []).append(result)
        return found

    def find(self, key: str) -> list[PackedResult]:
        """The results of an image in the objects that were read."""
        with self._lock:
            batch = self._batches.get(batch_of(key))
            return [] if batch is None else [results[key] for _, results in batch.objects.values() if key in results]

    def keep_only(self, batch_id: str, keys: Iterable[str]) -> None:
        """Drop what was read of objects that a whole listing of a batch does not have: they were deleted."""
        there = set(keys)
        with self._lock:
            if (batch := self._batches.get(batch_id)) is not None:
                for gone in [key for key in batch.objects if key not in there]:
                    self._count -= len(batch.objects.pop(gone)[1])

    def _known(self, stored: StoredObject) -> dict[str, PackedResult] | None:
        with self._lock:
            batch = self._use(batch_of(stored.key))
            etag, results = ("", None) if batch is None else batch.objects.get(stored.key, ("", None))
            return results if etag == stored.etag else None

    def _keep(self, stored: StoredObject, results: dict[str, PackedResult]) -> None:
        with self._lock:
            batch = self._batches.setdefault(batch_of(stored.key), _BatchPacks(self._clock()))
            self._count += len(results) - len(batch.objects.get(stored.key, ("", {}))[1])
            batch.objects[stored.key] = stored.etag, results
            while len(self._batches) > 1 and (self._count > self._max_results or self._oldest_is_unused()):
                _, dropped = self._batches.popitem(last=False)
                self._count -= sum(len(results) for _, results in dropped.objects.values())

    def _use(self, batch_id: str) -> _BatchPacks | None:
        batch = self._batches.get(batch_id)
        if batch is not None:
            batch.used_at = self._clock()
            self._batches.move_to_end(batch_id)
        return batch

    def _oldest_is_unused(self) -> bool:
        oldest = next(iter(self._batches.values()))
        return self._clock() - oldest.used_at >= _KEPT_SECONDS

    def _read_all(self, objects: Sequence[StoredObject]) -> list[dict[str, PackedResult]]:
        if len(objects) <= 1:
            return [self._read_one(stored) for stored in objects]
        with ThreadPoolExecutor(min(_PARALLEL_READS, len(objects)), thread_name_prefix="packs") as pool:
            return list(pool.map(self._read_one, objects))

    def _read_one(self, stored: StoredObject) -> dict[str, PackedResult]:
        try:
            return self._read(stored)
        except NotFoundError:
            return {}  # deleted meanwhile
