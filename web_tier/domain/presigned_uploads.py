"""Presigned uploads: clients post files straight to S3, with a signed permission for each."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from aws.buckets import ImageStore, PresignedPost, ResultStore
from core.errors import CloudError, EmptyImageError, ImageError, ImageTooLargeError, NotFoundError
from core.jobs import (
    ClassificationResult,
    Failure,
    base_name,
    clean_name,
    image_key,
    position_of,
)
from core.settings import Settings
from core.sizes import format_bytes
from web_tier.domain.upload_service import (
    WORKER_ID,
    Accepted,
    NotStored,
    Outbox,
    Rejected,
    Stored,
    UploadReport,
    UploadService,
)

EXPIRES_SECONDS = 900

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Permission:
    """Permission to post one file."""

    name: str
    key: str
    post: PresignedPost


class PresignedUploads:
    """Presigns uploads and enqueues those that have arrived; safe to share between threads.

    The content of a file is checked by the worker alone, which decodes it.

    Args:
        executor: looks for several files in S3 at a time.
    """

    def __init__(
        self,
        settings: Settings,
        images: ImageStore,
        results: ResultStore,
        uploads: UploadService,
        executor: Executor,
    ) -> None:
        self._settings = settings
        self._images = images
        self._results = results
        self._uploads = uploads
        self._executor = executor

    def permit(self, batch_id: str, files: Sequence[tuple[str, int]], offset: int | None) -> list[Permission]:
        """Presigns uploads of files with these names and sizes in bytes; stores no image.

        A permission expires after `EXPIRES_SECONDS`.  A file that is never sent leaves no trace in the batch.

        Args:
            offset: the position of the first file; None: after what the batch has.  Then keys are made unique,
                since another request may be given the same positions before anything is stored.

        Raises:
            ImageError: a file is larger than the limit.
            ValueError: the batch cannot have so many images.
            CloudError: `offset` is None and the batch cannot be listed, or a long name cannot be stored.
        """
        limit = self._settings.max_image_bytes
        for name, size_bytes in files:
            if size_bytes > limit:
                raise ImageTooLargeError(f"{clean_name(name)!r} is larger than the limit of {format_bytes(limit)}")
        first = self._uploads.next_position(batch_id) if offset is None else offset
        if first + len(files) > self._settings.max_batch_images:
            raise ValueError(f"the batch can have {self._settings.max_batch_images:,} images")
        permissions = []
        for position, (sent_name, size_bytes) in enumerate(files, start=first):
            name = clean_name(sent_name)
            unique = f"{secrets.token_hex(4)}-{base_name(name)}" if offset is None else name
            key = image_key(batch_id, position, unique)
            permissions.append(Permission(name, key, self._images.presign(key, name, size_bytes, EXPIRES_SECONDS)))
        return permissions

    def complete(self, batch_id: str, keys: Sequence[str], take: Callable[[int], int]) -> UploadReport:
        """Enqueues the uploads that have arrived; repeating it is harmless.

        Args:
            take: called with the number of jobs to enqueue; returns how many of them may be.  The other uploads are
                accepted, too: an image has a job from an earlier request, or gets one from the controller.
        """
        outbox = Outbox(self._uploads.job_batcher)
        outcomes = list(self._executor.map(lambda key: self._outcome(batch_id, key), dict.fromkeys(keys)))
        enqueued = take(sum(isinstance(outcome, Stored) for outcome in outcomes))
        for outcome in outcomes:
            if isinstance(outcome, Stored):
                enqueued -= 1
                if enqueued < 0:
                    outbox.report.accepted.append(Accepted(outcome.job.name, outcome.job.key))
                    continue
            outbox.add(outcome)
        outbox.flush()
        return outbox.report

    def _outcome(self, batch_id: str, key: str) -> Stored | Rejected | NotStored:
        try:
            name, size_bytes = self._images.head(key)
            job = self._uploads.new_job(batch_id, key, name)
            failure = self._check(size_bytes) or self._uploads.check_job(job)
            if failure is None:
                return Stored(job)
            self._results.put(ClassificationResult(key, name, failure=failure, worker_id=WORKER_ID))
            self._images.delete([key])
            return Rejected(name, key, failure)
        except NotFoundError:
            return NotStored(key.partition("/")[2], position_of(key), "not_stored", "has not arrived")
        except CloudError as error:
            log.warning("%s: %s", key, error)
            return NotStored(
                key.partition("/")[2], position_of(key), "not_queued", "could not be queued, please try again"
            )

    def _check(self, size_bytes: int) -> Failure | None:
        limit = self._settings.max_image_bytes
        try:
            if size_bytes == 0:
                raise EmptyImageError
            if size_bytes > limit:
                raise ImageTooLargeError(f"the file is larger than the limit of {format_bytes(limit)}")
        except ImageError as error:
            return Failure(error.code, str(error))
        return None
