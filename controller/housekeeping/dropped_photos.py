"""The sweep: enqueue dropped photos whose notification has not come, and report objects that are not classified.

S3's notifications make jobs of dropped photos (see `core.dropped_photos`).  Where a bucket has none configured, as in
some emulators, or one is lost, the sweep enqueues the photos that have no answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

from aws.buckets import ImageStore, ResultStore, StoredObject
from aws.queue import JobQueue
from controller.housekeeping.janitor import LOOK_BACK, find_orphans
from core.dropped_photos import job_of
from core.image_layouts import is_named
from core.object_keys import DROPPED
from core.periodic_task import ItemGuard

MAX_MISPLACED = 1000

log = logging.getLogger(__name__)


class DroppedPhotos:
    """The periodic task that enqueues dropped photos without a job, and reports misplaced objects.

    Args:
        min_age_seconds: younger photos may still be on their way to the queue.
        named_images: whether images may be stored under their file's names, beside the batches.
        clock: the time in UTC.
    """

    def __init__(
        self,
        jobs: JobQueue,
        images: ImageStore,
        results: ResultStore,
        min_age_seconds: float,
        named_images: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._jobs = jobs
        self._images = images
        self._results = results
        self._min_age = timedelta(seconds=min_age_seconds)
        self._named_images = named_images
        self._clock = clock
        # When each photo was enqueued, so that one whose result is not stored yet is not enqueued in each round.
        self._enqueued_at: dict[tuple[str, datetime], datetime] = {}
        self._reported: frozenset[str] = frozenset()

    def round(self) -> None:
        """Run one round; what fails is logged and tried again in the next round, and does not stop the rest.

        Raises:
            RoundError: at least one part failed.
        """
        guard = ItemGuard()
        for name, task in (("dropped photos", self._sweep), ("misplaced objects", self._report_misplaced)):
            with guard.item(name):
                task()
        guard.raise_failures()

    def _sweep(self) -> None:
        # Counted before anything is listed: see the janitor.
        queue_is_empty = self._jobs.backlog().total == 0
        now = self._clock()
        dropped = {
            stored.key: stored for stored in self._images.list_dropped() if now - stored.last_modified < LOOK_BACK
        }
        answered = self._answered(dropped) if dropped else set[str]()
        uploaded = {key: stored.last_modified for key, stored in dropped.items()}
        for key in find_orphans(uploaded, answered, now, self._min_age, queue_is_empty=queue_is_empty):
            self._enqueue(dropped[key], now)
        self._enqueued_at = {photo: at for photo, at in self._enqueued_at.items() if now - at < self._min_age}

    def _answered(self, dropped: dict[str, StoredObject]) -> set[str]:
        """The keys of the photos that have an answer.  That of an earlier photo of the same key is none."""
        return {
            result.key
            for result in self._results.list(DROPPED.prefix)
            if result.key in dropped and result.last_modified >= dropped[result.key].last_modified
        }

    def _enqueue(self, photo: StoredObject, now: datetime) -> None:
        identity = photo.key, photo.last_modified
        if now - self._enqueued_at.get(identity, now - self._min_age) < self._min_age:
            return
        log.warning("%s has neither an answer nor a job: enqueueing it", photo.key)
        self._jobs.send([job_of(self._images.bucket, photo.key, photo.etag.strip('"'))])
        self._enqueued_at[identity] = now

    def _report_misplaced(self) -> None:
        """Log a warning about each object once that is neither in a batch nor below the prefix of dropped photos."""
        misplaced = (name for name in self._images.list_misplaced() if not (self._named_images and is_named(name)))
        found = frozenset(islice(misplaced, MAX_MISPLACED))
        if new := sorted(found - self._reported):
            log.warning(
                "s3://%s has objects that are not classified, such as %r (%d new): photos are classified below %s",
                self._images.bucket,
                new[0],
                len(new),
                DROPPED.prefix,
            )
        self._reported = found
