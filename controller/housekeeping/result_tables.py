"""Store the results of each complete batch as one CSV file, ``<batch id>/results.csv``, beside them.

So an operator or a program that reads the output bucket need not fetch thousands of objects.  A table's metadata has a
digest of the results in it: it is stored once, by however many controllers, and again only if the batch changes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from tempfile import SpooledTemporaryFile

from aws.buckets import ImageStore, ResultStore, StoredObject
from controller.housekeeping.janitor import LOOK_BACK, created_at
from core.batch_record import BatchRecord
from core.csv_export import csv_chunks
from core.errors import DecodeError, NotFoundError
from core.jobs import ClassificationResult, unreadable_result
from core.periodic_task import ItemGuard

COLUMNS = ("image", "label", "score", "model", "seconds_total", "key")
# A batch is taken for complete when nothing was added for this long: its images may come in several requests.
QUIET_AFTER = timedelta(seconds=10)
# A complete batch is checked again when it has been unchanged for twice as long, and at least this often.
LOOK_AGAIN_AFTER = timedelta(hours=1)
_PARALLEL_REQUESTS = 8
# Results that are requested before the first is written: bounds the memory.
_FETCH_AHEAD = 200
# Larger tables go to a temporary file on disk.
_SPOOL_BYTES = 1024 * 1024
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


class ResultTables:
    """The periodic task that stores the result tables of the batches of the last day.

    Args:
        clock: the time in UTC.
    """

    def __init__(
        self, images: ImageStore, results: ResultStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._images = images
        self._results = results
        self._clock = clock
        # A cache that saves requests; without an entry, a batch is only checked once more.
        self._next_look_at: dict[str, datetime] = {}

    def round(self) -> None:
        """Run one round; a batch that fails is logged and tried again in the next round.

        Raises:
            RoundError: at least one batch failed.
            CloudError: the batches could not be listed.
        """
        now = self._clock()
        guard = ItemGuard()
        batches = list(self._images.batches_since(now - LOOK_BACK))
        for batch_id in batches:
            if now >= self._next_look_at.get(batch_id, _LONG_AGO):
                with guard.item(f"the result table of {batch_id}"):
                    self._look_at(batch_id, now)
        # Batches leave the listing when they are deleted or older than the look-back.
        listed = set(batches)
        self._next_look_at = {batch_id: at for batch_id, at in self._next_look_at.items() if batch_id in listed}
        guard.raise_failures()

    def _look_at(self, batch_id: str, now: datetime) -> None:
        images = {stored.key: stored.last_modified for stored in self._images.list(batch_id)}
        results = list(self._results.list(f"{batch_id}/"))
        if not images.keys() <= {stored.key for stored in results}:
            return
        changes = [*images.values(), *(stored.last_modified for stored in results)]
        quiet_for = now - max(changes, default=created_at(batch_id) or now)
        if quiet_for < QUIET_AFTER:
            return
        if results:
            self._store_table(batch_id, results, now - quiet_for, now)
        self._next_look_at[batch_id] = now + min(quiet_for, LOOK_AGAIN_AFTER)

    def _store_table(self, batch_id: str, results: Sequence[StoredObject], changed_at: datetime, now: datetime) -> None:
        digest = hashlib.sha256("\n".join(f"{stored.key} {stored.etag}" for stored in results).encode()).hexdigest()
        if self._results.table_digest(batch_id) == digest:
            return
        record = self._record(batch_id)
        if record is None or not record.listed:
            return  # the batches of single images change with each image
        if record.missing(len(results), changed_at.timestamp(), now.timestamp()):
            return
        with SpooledTemporaryFile(max_size=_SPOOL_BYTES) as table:
            for chunk in csv_chunks(self._fetch(results), COLUMNS):
                table.write(chunk.encode())
            table.seek(0)
            self._results.put_table(batch_id, table, digest)
        log.info("stored the table of %d results of the batch %s", len(results), batch_id)

    def _record(self, batch_id: str) -> BatchRecord | None:
        """A batch's record; None if it was deleted meanwhile, or cannot be read, so that its owner is unknown."""
        try:
            return self._images.read_batch(batch_id)
        except (NotFoundError, DecodeError):
            return None

    def _fetch(self, results: Sequence[StoredObject]) -> Iterator[ClassificationResult]:
        with ThreadPoolExecutor(_PARALLEL_REQUESTS, thread_name_prefix="result-tables") as pool:
            for start in range(0, len(results), _FETCH_AHEAD):
                for result in pool.map(self._result, results[start : start + _FETCH_AHEAD]):
                    if result is not None:
                        yield result

    def _result(self, stored: StoredObject) -> ClassificationResult | None:
        try:
            return self._results.get(stored.key)
        except NotFoundError:
            return None  # deleted meanwhile
        except DecodeError:
            return unreadable_result(stored.key)
