"""Finishes what the deletion of a batch may leave: results that a worker stored meanwhile, or half a batch.

The web tier leaves a note for each batch that it deletes (`aws.batch_index`).  While a note is young, what appears
under its batch is deleted; then the note goes, too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from core.periodic_task import ItemGuard

# Longer than any worker may have had an image in hand.
KEEP_NOTES = timedelta(hours=1)


class Deletions:
    """Deletes again what was to be deleted.

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

    def round(self) -> None:
        """Run one round over all notes; one that fails is logged and tried again in the next.

        Raises:
            RoundError: a note failed.
            CloudError: the notes could not be listed.
        """
        guard = ItemGuard()
        for batch_id, noted_at in self._index.deleted():
            with guard.item(f"the deletion of {batch_id}"):
                old = self._clock() - noted_at > KEEP_NOTES
                self._results.delete_batch(batch_id)
                self._images.delete_batch(batch_id)
                if old:
                    self._index.forget_deleted(batch_id)
        guard.raise_failures()
