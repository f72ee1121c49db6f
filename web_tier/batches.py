"""What is known of a batch, read from the two buckets whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from aws.buckets import ImageStore, ResultStore, StoredObject
from core.errors import DecodeError, NotFoundError
from core.jobs import ClassificationResult, Failure, is_batch_id, is_key, new_batch_id

_CACHED_RESULTS = 10_000
_CACHED_RECORDS = 1000
# Results of one request that are asked of S3 before the first is waited for.
_FETCH_AHEAD = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch at one moment: its uploads and its results, both in the order of their keys.

    A refused file has a result and no upload; it counts as accepted and as answered.
    """

    batch_id: str
    created_at: str
    uploads: Sequence[StoredObject]
    results: Sequence[StoredObject]

    @property
    def keys(self) -> list[str]:
        """Keys of all files of the batch, in order."""
        return sorted({entry.key for entry in self.uploads} | {entry.key for entry in self.results})

    @property
    def accepted(self) -> int:
        """How many files the batch has."""
        return len({entry.key for entry in self.uploads} | {entry.key for entry in self.results})

    @property
    def answered(self) -> int:
        """How many of them have a result."""
        return len(self.results)

    @property
    def complete(self) -> bool:
        """Whether there are files and all have a result."""
        return self.answered == self.accepted > 0


class BatchService:
    """Creates and reads batches and their results; safe to share between threads.

    Two small caches save requests to S3, and both hold only what never changes: a batch's record, and a
    result under its key *and* entity tag.

    Args:
        executor: fetches results, several at a time.
    """

    def __init__(self, images: ImageStore, results: ResultStore, executor: Executor) -> None:
        self._images = images
        self._results = results
        self._executor = executor
        self._record = lru_cache(_CACHED_RECORDS)(images.read_batch)
        self._cached_result = lru_cache(_CACHED_RESULTS)(self._fetch_result)

    def create(self, now: datetime) -> str:
        """Creates an empty batch; returns its id."""
        batch_id = new_batch_id(now)
        self._images.create_batch(batch_id, {"created_at": now.isoformat(timespec="seconds")})
        return batch_id

    def record(self, batch_id: str) -> dict[str, Any]:
        """A batch's record, ``{"created_at": …}``.

        Raises:
            NotFoundError: there is no such batch, or the id is malformed.
        """
        if not is_batch_id(batch_id):
            raise NotFoundError("there is no such batch")
        return self._record(batch_id)

    def read(self, batch_id: str) -> Batch:
        """A batch as it is now.

        Raises:
            NotFoundError: there is no such batch.
        """
        created_at = self.record(batch_id).get("created_at", "")
        uploads = self._executor.submit(lambda: [entry for entry in self._images.list(batch_id) if is_key(entry.key)])
        results = [entry for entry in self._results.list(f"{batch_id}/") if is_key(entry.key)]
        return Batch(batch_id, created_at, uploads.result(), results)

    def fetch(self, entries: Sequence[StoredObject]) -> Iterator[ClassificationResult]:
        """Yields the results in the order of `entries`, a bounded number at a time in memory.

        An object that is not a result becomes a failure; one that was deleted meanwhile is left out.
        """
        for start in range(0, len(entries), _FETCH_AHEAD):
            ahead = entries[start : start + _FETCH_AHEAD]
            for result in self._executor.map(self._result, ahead):
                if result is not None:
                    yield result

    def _result(self, entry: StoredObject) -> ClassificationResult | None:
        try:
            return self._cached_result(entry.key, entry.etag)
        except NotFoundError:
            return None

    def _fetch_result(self, key: str, _etag: str) -> ClassificationResult:
        try:
            return self._results.get(key)
        except DecodeError:
            failure = Failure("unreadable", "the stored result cannot be read")
            return ClassificationResult(key, shown_name(key), failure=failure)


def shown_name(key: str) -> str:
    """The name of a file of which only the key is known: its safe name."""
    return key.partition("/")[2][6:]
