"""Complete the deletion of batches: delete objects that were left, or stored after the deletion.

The web tier writes a note for each batch that it deletes (`aws.batch_index`).  A worker may still store a result of
that batch, or the deletion may have been interrupted.  So each round deletes the batch's objects once more; notes older
than `KEEP_NOTES` are then deleted, too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from core.periodic_task import ItemGuard

# Longer than a worker can have an image in hand.
KEEP_NOTES = timedelta(hours=1)


class Deletions:
    """The periodic task that deletes the objects of deleted batches again.

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
