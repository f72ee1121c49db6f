"""The janitor: every accepted upload is answered, even if a job got lost or failed too often.

* *Dead letters* are answered with a failure, which the person sees; they stay in their queue for `elastic dlq`.
* *Orphans*, uploads whose job was never sent because the web tier died in between, are enqueued again.

Both are harmless where they err: a result's key is its job's key, and a later answer replaces a failure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from aws.buckets import ImageStore, ResultStore
from aws.dead_letters import DeadLetters
from aws.queue import JobQueue
from core.errors import CloudError, NotFoundError
from core.jobs import ClassificationJob, ClassificationResult, Failure, new_job_id

log = logging.getLogger(__name__)

GAVE_UP = Failure("gave_up", "the image could not be classified although it was tried several times")
WORKER_ID = "janitor"
# Older batches are no longer looked after; S3's lifecycle rules will remove them.
LOOK_BACK = timedelta(hours=24)
# While the queue is never empty: an upload is an orphan when uploads this much younger were answered.
OVERTAKEN_BY = timedelta(minutes=15)
MAX_DEAD_LETTERS_PER_ROUND = 1000


def find_orphans(
    uploaded: Mapping[str, datetime],
    answered: Collection[str],
    now: datetime,
    min_age: timedelta,
    *,
    queue_is_empty: bool,
) -> list[str]:
    """The uploads that have neither an answer nor, by all appearances, a job.

    Args:
        uploaded: when each image was stored, by key.
        answered: the keys that have a result.
        now: the time of the listing.
        min_age: younger uploads may still be on their way to the queue.
        queue_is_empty: nothing waited and nothing was in flight before the listing: then what has no answer
            has no job.  Otherwise only those count that much younger uploads have overtaken.
    """
    waiting = {key: at for key, at in uploaded.items() if key not in answered and now - at >= min_age}
    if queue_is_empty:
        return sorted(waiting)
    youngest_answered = max((at for key, at in uploaded.items() if key in answered), default=None)
    if youngest_answered is None:
        return []
    return sorted(key for key, at in waiting.items() if youngest_answered - at >= OVERTAKEN_BY)


class Janitor:
    """Looks after batches of the last day.

    Args:
        clock: the time in UTC.
    """

    def __init__(
        self,
        jobs: JobQueue,
        dead_letters: DeadLetters,
        images: ImageStore,
        results: ResultStore,
        orphan_age_seconds: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._jobs = jobs
        self._dead_letters = dead_letters
        self._images = images
        self._results = results
        self._orphan_age = timedelta(seconds=orphan_age_seconds)
        self._clock = clock
        # Only to save requests: forgetting any of these costs a repeated look, nothing more.
        self._settled_batches: set[str] = set()
        self._enqueued_at: dict[str, datetime] = {}
        self._answered_letters: set[str] = set()

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Does a round every `interval_seconds` until `stop` is set."""
        while not stop.wait(interval_seconds):
            self.round()

    def round(self) -> None:
        """One round; a cloud that fails is logged and tried again in the next."""
        for task in (self.answer_dead_letters, self.adopt_orphans):
            try:
                task()
            except CloudError as error:
                log.warning("%s", error)

    def answer_dead_letters(self) -> int:
        """Stores a failure for each dead letter whose image has no result; returns how many."""
        count = self._dead_letters.count()
        if count == len(self._answered_letters):
            return 0
        letters = self._dead_letters.peek(MAX_DEAD_LETTERS_PER_ROUND)
        jobs = [letter.job for letter in letters if letter.job is not None]
        answered = 0
        for job in jobs:
            if job.job_id not in self._answered_letters and not self._results.exists(job.key):
                log.error("%s is a dead letter: answering with a failure", job.key)
                self._results.put(
                    ClassificationResult(job.key, job.name, failure=GAVE_UP, job_id=job.job_id, worker_id=WORKER_ID)
                )
                answered += 1
        self._answered_letters = {job.job_id for job in jobs}
        return answered

    def adopt_orphans(self) -> int:
        """Enqueues orphans again; returns how many."""
        # Counted before anything is listed: results are stored before jobs are deleted, so what this count no longer
        # has, the listings do.
        queue_is_empty = self._jobs.backlog().total == 0
        now = self._clock()
        uploaded: dict[str, datetime] = {}
        answered: set[str] = set()
        for batch_id in self._images.batches_since(now - LOOK_BACK):
            if batch_id not in self._settled_batches:
                images = {stored.key: stored.last_modified for stored in self._images.list(batch_id)}
                results = {stored.key for stored in self._results.list(f"{batch_id}/")}
                self._settle(batch_id, images, results, now)
                uploaded |= images
                answered |= results
        if uploaded.keys() <= answered:
            return 0
        orphans = [
            key
            for key in find_orphans(uploaded, answered, now, self._orphan_age, queue_is_empty=queue_is_empty)
            if now - self._enqueued_at.get(key, now - 2 * self._orphan_age) >= self._orphan_age
        ]
        for key in orphans:
            self._enqueue(key, now)
        self._enqueued_at = {key: at for key, at in self._enqueued_at.items() if key in uploaded}
        return len(orphans)

    def _settle(self, batch_id: str, images: Mapping[str, datetime], results: Collection[str], now: datetime) -> None:
        """Notes that a batch is complete and old enough for nothing more to be added to it."""
        last_upload = max(images.values(), default=None)
        if last_upload is not None and now - last_upload > timedelta(hours=1) and all(key in results for key in images):
            self._settled_batches.add(batch_id)

    def _enqueue(self, key: str, now: datetime) -> None:
        log.warning("%s has neither answer nor job: enqueueing it again", key)
        try:
            name = self._images.name(key)
        except NotFoundError:
            return  # deleted meanwhile
        batch_id = key.partition("/")[0]
        self._jobs.send([ClassificationJob(new_job_id(), batch_id, self._images.bucket, key, name)])
        self._enqueued_at[key] = now
