"""Single images: stores and enqueues one image, and waits for its result.

Such images share batches that no list shows: one for each owner, process and half hour.  Named images
(`core.image_layouts`) belong to none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from core.errors import CloudError
from core.jobs import ClassificationResult
from web_tier.domain.batches import BatchService
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.result_waiter import ResultWaiter, TooManyWaitingError
from web_tier.domain.upload_service import UploadReport, UploadService

# One page of a listing.
IMAGES_PER_BATCH = 1000
# Well below the hour after which the janitor takes a batch with all its results for finished.
SECONDS_PER_BATCH = 1800.0


@dataclass(frozen=True, slots=True)
class Submitted:
    """An image that is stored under `key`; a rejected one is `answered` already."""

    key: str
    name: str
    answered: bool


@dataclass(slots=True)
class _Shared:
    batch_id: str
    until: float
    next_position: int = 0


class SingleImages:
    """Stores single images and waits for their results; safe to share between threads.

    Args:
        fetch: reads a result by its key.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        batches: BatchService,
        uploads: UploadService,
        result_waiter: ResultWaiter,
        fetch: Callable[[str], ClassificationResult],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._batches = batches
        self._uploads = uploads
        self._result_waiter = result_waiter
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._shared: dict[str, _Shared] = {}

    def submit(self, owner: str, file: UploadedFile, *, named: bool = False) -> tuple[Submitted, UploadReport]:
        """Stores and enqueues an image, or stores its failure.

        Args:
            named: store it as a named image.

        Raises:
            TooManyWaitingError: the limit on waiting requests is reached; nothing is stored.
            CloudError: S3 or SQS failed.
        """
        with file.body:
            if self._result_waiter.full:
                raise TooManyWaitingError
            report = self._uploads.accept_named(file) if named else self._uploads.accept(*self._place(owner, file))
        if report.not_stored:
            raise CloudError(f"a single image: {report.not_stored[0].sentence}")
        if report.rejected:
            return Submitted(report.rejected[0].key, report.rejected[0].name, True), report
        return Submitted(report.accepted[0].key, report.accepted[0].name, False), report

    def wait(self, submitted: Submitted, timeout_seconds: float) -> ClassificationResult | None:
        """The result of an image; None where there is none after `timeout_seconds`.

        Raises:
            TooManyWaitingError: the limit on waiting requests is reached; the image is classified all the same.
            WaitFailedError: looking for the result failed; the image is classified all the same.
            CloudError: S3 failed.
        """
        if submitted.answered or self._result_waiter.wait(submitted.key, timeout_seconds):
            return self._fetch(submitted.key)
        return None

    def _place(self, owner: str, file: UploadedFile) -> tuple[str, list[UploadedFile], int]:
        with self._lock:
            now = self._clock()
            shared = self._shared.get(owner)
            if shared is None or now >= shared.until or shared.next_position >= IMAGES_PER_BATCH:
                batch_id = self._batches.create(datetime.now(UTC), owner, listed=False)
                shared = self._shared[owner] = _Shared(batch_id, now + SECONDS_PER_BATCH)
                self._shared = {name: kept for name, kept in self._shared.items() if kept.until > now}
            shared.next_position += 1
            return shared.batch_id, [file], shared.next_position - 1
