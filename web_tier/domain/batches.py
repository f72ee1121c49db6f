"""Batches: created and read from the input and output bucket, which hold their whole state."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore, StoredObject
from core.batch_record import BatchRecord
from core.errors import DecodeError, ElasticError, NotFoundError
from core.jobs import ClassificationResult, is_batch_id, new_batch_id, position_of, unreadable_result
from web_tier.domain.upload_plan import ChosenFile, KnownImages, UploadPlan, announce, plan_upload
from web_tier.ttl_cache import TTLCache

# After another process has cancelled or deleted a batch, images are accepted for so long at most.  An upload that was
# under way then is stored as well; the page therefore cancels again, later than this (static/batch.js).
OPEN_SECONDS = 2.0
_CACHED_RESULTS = 5_000
# So often the cache of results is emptied, so that a process that runs for weeks keeps none that is not viewed.
_RESULTS_KEPT_SECONDS = 600.0
_CACHED_RECORDS = 1000
# A viewer of a batch whose announced images are all stored sees others, which were not announced, so much later.
UPLOADS_KEPT_SECONDS = 5.0
# Results of one request that are requested from S3 before the first is awaited.
_FETCH_AHEAD = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch at one moment: its uploads and its results, both in the order of their keys.

    A rejected file has a result and no upload; it counts as accepted and as answered.

    Attributes:
        announced: how many images it will have in all; 0 if that was not announced.
        missing: how many of them are still expected; see `BatchRecord.missing`.
        uploads_listed_at: when the uploads were listed, in monotonic seconds.
    """

    batch_id: str
    created_at: str
    uploads: Sequence[StoredObject]
    results: Sequence[StoredObject]
    name: str = ""
    cancelled: bool = False
    announced: int = 0
    missing: int = 0
    uploads_listed_at: float = dataclasses.field(default=float("-inf"), compare=False)

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
    def classified(self) -> int:
        """How many results are of the app tier: all but those of files that were rejected at the upload."""
        return len({entry.key for entry in self.uploads} & {entry.key for entry in self.results})

    @property
    def unanswered(self) -> list[StoredObject]:
        """The images without a result."""
        answered = {entry.key for entry in self.results}
        return [entry for entry in self.uploads if entry.key not in answered]

    @property
    def complete(self) -> bool:
        """Whether there are files, all have a result, and no announced file is missing."""
        return self.settled and self.accepted > 0 and not self.missing

    @property
    def settled(self) -> bool:
        """Whether all files so far have a result."""
        return self.answered == self.accepted

    @property
    def changed_at(self) -> float:
        """When the last image or result was stored, or an empty batch was created, in seconds since the epoch."""
        if not self.accepted:
            return _seconds(self.created_at)
        return max(entry.last_modified for entry in (*self.uploads, *self.results)).timestamp()


def _seconds(iso_time: str) -> float:
    """Seconds since the epoch; 0 for what is no time."""
    try:
        return datetime.fromisoformat(iso_time).timestamp()
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some batches, as pairs of id and record; `after` is where the next page begins, empty for the last one."""

    batches: Sequence[tuple[str, BatchRecord]]
    after: str


class BatchCancelledError(ElasticError):
    """the batch has been cancelled and takes no more images"""


class BatchService:
    """Creates and reads batches and their results; safe to share between threads.

    Small caches save requests to S3.  Two hold immutable values: a batch's owner, name and creation, and a result under
    its key *and* entity tag.  The third holds for seconds what of a record changes: its announcement, its cancellation.

    Args:
        executor: fetches results, several at a time.
        clock: monotonic seconds.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        images: ImageStore,
        results: ResultStore,
        index: BatchIndex,
        executor: Executor,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._images = images
        self._results = results
        self._index = index
        self._executor = executor
        self._current = TTLCache(self._read_record, OPEN_SECONDS, clock=clock)
        # By way of the other cache, so that a request that needs both reads the record once.
        self._record = lru_cache(_CACHED_RECORDS)(self._current.get)
        self._clock = clock
        self._now = now
        self._cached_result = lru_cache(_CACHED_RESULTS)(self._fetch_result)
        self._emptied_at = clock()

    def create(self, now: datetime, owner: str, name: str = "", *, listed: bool = True, announced: int = 0) -> str:
        """Creates an empty batch; returns its id.

        Args:
            listed: whether it appears among its owner's batches.
            announced: how many images it will have; 0 if that is not known.
        """
        batch_id = new_batch_id(now)
        record = BatchRecord(
            now.isoformat(timespec="seconds"),
            owner,
            name,
            listed=listed,
            announced=announced,
            announced_at=now.timestamp() if announced else 0.0,
        )
        self._images.create_batch(batch_id, record)
        if listed:
            self._index.add(owner, batch_id)
        return batch_id

    def record(self, batch_id: str, *, fresh: bool = False) -> BatchRecord:
        """A batch's record.

        Args:
            fresh: read it from S3 although it is cached: it may have been deleted.

        Raises:
            NotFoundError: there is no such batch, the id is malformed, or the record cannot be read, so that the owner
                is not known.
        """
        if not is_batch_id(batch_id):
            raise NotFoundError("there is no such batch")
        return self._read_record(batch_id) if fresh else self._record(batch_id)

    def _read_record(self, batch_id: str) -> BatchRecord:
        try:
            return self._images.read_batch(batch_id)
        except DecodeError as error:
            log.error("the batch %s: %s", batch_id, error)
            raise NotFoundError("the record of the batch cannot be read") from error

    def open_record(self, batch_id: str) -> BatchRecord:
        """The record of a batch that accepts images, or did at most `OPEN_SECONDS` ago.

        Raises:
            NotFoundError: there is no such batch.
            BatchCancelledError: it has been cancelled.
        """
        record = self._current_record(batch_id)
        if record.cancelled:
            raise BatchCancelledError
        return record

    def invalidate_open(self, batch_id: str) -> None:
        """Invalidates what `open_record` has cached, because this process changes or deletes the batch."""
        self._current.invalidate(batch_id)

    def _current_record(self, batch_id: str) -> BatchRecord:
        """The record as it was at most `OPEN_SECONDS` ago; raises `NotFoundError` as `record` does."""
        if not is_batch_id(batch_id):
            raise NotFoundError("there is no such batch")
        return self._current.get(batch_id)

    def page(self, owner: str, limit: int, after: str = "") -> BatchPage:
        """Up to `limit` of an owner's batches, newest first: at most 1 + `limit` requests.

        A batch that is being deleted at this moment is left out.

        Args:
            after: `BatchPage.after` of the last page.
        """
        batch_ids = self._index.page(owner, limit, after)
        records = self._executor.map(self._record_or_none, batch_ids)
        found = [(batch_id, record) for batch_id, record in zip(batch_ids, records, strict=True) if record is not None]
        return BatchPage(found, batch_ids[-1] if len(batch_ids) == limit else "")

    def _record_or_none(self, batch_id: str) -> BatchRecord | None:
        try:
            return self._record(batch_id)
        except NotFoundError:
            return None

    def read(self, batch_id: str, before: Batch | None = None, *, fresh: bool = False) -> Batch:
        """Reads the current state of a batch.

        Args:
            before: the state that the caller read last: its uploads are not listed again for `UPLOADS_KEPT_SECONDS`
                where they are all that were announced.
            fresh: read the record from S3 although it is cached: another process may just have changed it.

        Raises:
            NotFoundError: there is no such batch.
        """
        if fresh:
            self.invalidate_open(batch_id)
        record = self._current_record(batch_id)
        if before is not None and self._has_all_uploads(before, record):
            results, cancelled = self._results.list_batch(batch_id)
            if not cancelled:  # cancelling deletes uploads
                return dataclasses.replace(before, results=results)
        listed_at = self._clock()
        uploads = self._executor.submit(lambda: list(self._images.list(batch_id)))
        results, cancelled = self._results.list_batch(batch_id)
        if not uploads.result() and not results:
            record = self.record(batch_id, fresh=True)
        found = Batch(
            batch_id,
            record.created_at,
            uploads.result(),
            results,
            record.name,
            cancelled,
            record.announced,
            uploads_listed_at=listed_at,
        )
        if cancelled or not record.announced:
            return found
        missing = record.missing(found.accepted, found.changed_at, self._now())
        return dataclasses.replace(found, missing=missing)

    def _has_all_uploads(self, before: Batch, record: BatchRecord) -> bool:
        is_whole = 0 < before.announced == record.announced and not before.missing and not before.cancelled
        return is_whole and self._clock() - before.uploads_listed_at < UPLOADS_KEPT_SECONDS

    def plan(self, batch_id: str, files: Sequence[ChosenFile], max_images: int, *, additional: bool) -> UploadPlan:
        """Plans an upload into a batch and announces its files; see `plan_upload`.

        Raises:
            NotFoundError: there is no such batch.
            BatchCancelledError: it has been cancelled.
            CloudError: S3 failed.
        """
        current = self.read(batch_id)
        known = self.known_images(current, {file.size_bytes for file in files})
        missing_here = [not known.take(file) for file in files]
        taken = {position_of(key) for key in current.keys}
        plans: list[UploadPlan] = []

        def change(record: BatchRecord) -> BatchRecord:
            if record.cancelled:
                raise BatchCancelledError
            plan = plan_upload(missing_here, taken, current.accepted, record, max_images, additional=additional)
            plans.append(plan)
            return announce(record, plan.announced, self._now()) if any(missing_here) else record

        self._images.update_batch(batch_id, change)
        self.invalidate_open(batch_id)
        return plans[-1]

    def known_images(self, batch: Batch, sizes: Collection[int] | None = None) -> KnownImages:
        """The names and sizes of a batch's images; costs a request for each image whose name is not cached.

        Args:
            sizes: images of other known sizes in bytes are left out.
        """
        stored = {entry.key: entry.size_bytes for entry in batch.uploads}
        results = {entry.key: entry for entry in batch.results}
        keys = [key for key in batch.keys if sizes is None or key not in stored or stored[key] in sizes]
        names = self._executor.map(lambda key: self._name(key, results.get(key)), keys)
        return KnownImages((name, stored.get(key)) for key, name in zip(keys, names, strict=True) if name is not None)

    def _name(self, key: str, answer: StoredObject | None) -> str | None:
        """An image's name; None if the image was deleted meanwhile."""
        if answer is not None and (result := self._result(answer)) is not None:
            return result.name
        try:
            return self._images.name(key)
        except NotFoundError:
            return None

    def fetch(self, entries: Sequence[StoredObject]) -> Iterator[ClassificationResult]:
        """Yields the results in the order of `entries`, a bounded number at a time in memory.

        An object that cannot be decoded yields a failure; one that was deleted meanwhile is left out.
        """
        for start in range(0, len(entries), _FETCH_AHEAD):
            ahead = entries[start : start + _FETCH_AHEAD]
            for result in self._executor.map(self._result, ahead):
                if result is not None:
                    yield result

    def _result(self, entry: StoredObject) -> ClassificationResult | None:
        if (now := self._clock()) - self._emptied_at >= _RESULTS_KEPT_SECONDS:
            self._emptied_at = now
            self._cached_result.cache_clear()
        try:
            return self._cached_result(entry.key, entry.etag)
        except NotFoundError:
            return None

    def _fetch_result(self, key: str, _etag: str) -> ClassificationResult:
        try:
            return self._results.get(key)
        except DecodeError:
            return unreadable_result(key)
