"""Delete batches that never got an image.

An empty batch costs little, but its record, its place in its owner's list and the rounds of the other tasks cost it for
ever, and a client can create thousands.  A batch that is empty after `EMPTY_AFTER` is first closed to uploads, by the
mark of a cancelled batch.  Only if it is still empty when no upload can be on its way any more, it is deleted.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from controller.housekeeping.janitor import created_at
from core.errors import DecodeError, NotFoundError
from core.periodic_task import ItemGuard

EMPTY_AFTER = timedelta(hours=12)
# Older batches are not checked; S3's lifecycle rules delete them.
LOOK_BACK = timedelta(hours=48)
# Longer than a permission to upload to S3 directly is valid.
DELETED_AFTER = timedelta(minutes=20)
INTERVAL_SECONDS = 600.0

log = logging.getLogger(__name__)


class EmptyBatches:
    """The periodic task that deletes empty batches.

    Args:
        clock: the time in UTC.
    """

    def __init__(
        self,
        index: BatchIndex,
        images: ImageStore,
        results: ResultStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._index = index
        self._images = images
        self._results = results
        self._clock = clock
        # Batches with images, and when empty ones were closed; without an entry, a batch is only checked once more.
        self._in_use: set[str] = set()
        self._closed_at: dict[str, datetime] = {}

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
            created = created_at(batch_id)
            if created is None or now - created < EMPTY_AFTER or batch_id in self._in_use:
                continue
            with guard.item(f"the empty batch {batch_id}"):
                self._look_at(batch_id, now)
        listed = set(batches)
        self._in_use &= listed
        self._closed_at = {batch_id: at for batch_id, at in self._closed_at.items() if batch_id in listed}
        guard.raise_failures()

    def _look_at(self, batch_id: str, now: datetime) -> None:
        # The first of each is enough.
        if next(self._images.list(batch_id), None) or next(self._results.list(f"{batch_id}/"), None):
            if self._closed_at.pop(batch_id, None) is not None:
                self._mark(batch_id, cancelled=False)
            self._in_use.add(batch_id)
        elif batch_id not in self._closed_at:
            self._mark(batch_id, cancelled=True)
            self._closed_at[batch_id] = now
        elif now - self._closed_at[batch_id] >= DELETED_AFTER:
            self._delete(batch_id)

    def _mark(self, batch_id: str, *, cancelled: bool) -> None:
        try:
            self._images.update_batch(batch_id, lambda record: dataclasses.replace(record, cancelled=cancelled))
        except (NotFoundError, DecodeError) as error:
            log.warning("the empty batch %s: %s", batch_id, error)

    def _delete(self, batch_id: str) -> None:
        try:
            owner = self._images.read_batch(batch_id).owner
        except (NotFoundError, DecodeError):
            owner = None
        self._index.mark_deleted(batch_id)
        if owner is not None:
            self._index.remove(owner, batch_id)
        self._images.delete_batch(batch_id)
        log.info("the batch %s, which had no image, was deleted", batch_id)
