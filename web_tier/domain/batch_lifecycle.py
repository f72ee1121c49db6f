"""Cancelling batches, and deleting them with all their data."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Executor

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from core.errors import AlreadyExistsError, NotFoundError
from core.jobs import ClassificationResult, Failure, shown_name
from web_tier.domain.batches import Batch
from web_tier.domain.upload_service import WORKER_ID

CANCELLED = Failure("cancelled", "the batch was cancelled before the image was classified")


class BatchLifecycle:
    """Cancels and deletes batches; safe to share between threads.

    Every method raises `CloudError` where S3 fails; repeating it then completes what is left.

    Args:
        executor: stores results, several at a time.
    """

    def __init__(self, images: ImageStore, results: ResultStore, index: BatchIndex, executor: Executor) -> None:
        self._images = images
        self._results = results
        self._index = index
        self._executor = executor

    def cancel(self, batch: Batch) -> int:
        """Stores the failure `CANCELLED` for every image without a result and deletes those images; returns how many.

        Their jobs stay in the queue: a worker that finds no image never overwrites a result and goes on to the next
        job, which costs it one request.  An image that a worker is processing at this moment may still be classified;
        its result then replaces the failure, so that each image has one result in any case.
        """
        # Twice: in the record, which is read where images are added, and among the results, which viewers list.
        self._images.update_batch(batch.batch_id, lambda record: dataclasses.replace(record, cancelled=True))
        self._results.mark_cancelled(batch.batch_id)
        cancelled = self._executor.map(self._store_cancelled, [entry.key for entry in batch.unanswered])
        keys = [key for key in cancelled if key is not None]
        self._images.delete(keys)
        return len(keys)

    def close(self, batch_id: str) -> None:
        """Notes that no more of the announced images are expected; repeating it is harmless."""
        self._images.update_batch(batch_id, lambda record: dataclasses.replace(record, closed=True))

    def delete(self, batch_id: str, owner: str) -> None:
        """Deletes images, results, record and the entry in the owner's list.

        The batch is marked as deleted first: by that mark the controller deletes what a worker stores meanwhile, and
        what remains if this process dies.
        """
        self._index.mark_deleted(batch_id)
        self._index.remove(owner, batch_id)
        self._results.delete_batch(batch_id)
        self._images.delete_batch(batch_id)

    def _store_cancelled(self, key: str) -> str | None:
        try:
            name = self._images.name(key)
        except NotFoundError:
            name = shown_name(key)
        try:
            result = ClassificationResult(key, name, failure=CANCELLED, worker_id=WORKER_ID)
            self._results.put(result, only_if_new=True)
        except AlreadyExistsError:
            return None
        return key
