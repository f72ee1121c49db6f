"""The janitor: store a failure for each dead letter, and enqueue orphans again.

* *Dead letters* are answered with a failure, which the client sees; they stay in their queue for `elastic dlq`.
* *Orphans* are uploads whose job was never sent, since the web tier crashed after it stored the image.

So every accepted upload is answered.  A mistake does no harm: a result's key is its job's key, and a later result
replaces a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from aws.buckets import ImageStore, ResultStore
from aws.dead_letters import DeadLetters
from aws.queue import JobQueue, ReceivedJob
from core.errors import NotFoundError
from core.jobs import ClassificationJob, ClassificationResult, Failure, is_batch_id, new_job_id
from core.periodic_task import ItemGuard

log = logging.getLogger(__name__)

GAVE_UP = Failure("gave_up", "the image could not be classified although it was tried several times")
WORKER_ID = "janitor"
# Older batches are not checked; S3's lifecycle rules delete them.
LOOK_BACK = timedelta(hours=24)
# While the queue is not empty, an upload counts as an orphan if an upload that is this much younger was answered.
OVERTAKEN_BY = timedelta(minutes=15)
# More are hidden for longer than a visibility timeout while they are received.
MAX_DEAD_LETTERS_PER_ROUND = 10_000
# A batch whose images are all answered is checked again after this part of the time since its last image, or since it
# was created: clients usually add images within minutes.  Each look takes two listings.
LOOK_AGAIN_PART = 0.25
# Complete batches and dead letters are checked again after this time at most, so that later uploads are found, too.
LOOK_AGAIN_AFTER = timedelta(hours=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def find_orphans(
    uploaded: Mapping[str, datetime],
    answered: Collection[str],
    now: datetime,
    min_age: timedelta,
    *,
    queue_is_empty: bool,
) -> list[str]:
    """Return the keys of uploads that have no result and, as far as can be inferred, no job.

    Args:
        uploaded: when each image was stored, by key.
        answered: the keys that have a result.
        now: the time of the listing.
        min_age: younger uploads may still be on their way to the queue.
        queue_is_empty: no job was waiting or in flight before the listing, so that an upload without a result
            has no job.  Otherwise an upload is an orphan only if one younger by `OVERTAKEN_BY` was answered.
    """
    waiting = {key: at for key, at in uploaded.items() if key not in answered and now - at >= min_age}
    if queue_is_empty:
        return sorted(waiting)
    youngest_answered = max((at for key, at in uploaded.items() if key in answered), default=None)
    if youngest_answered is None:
        return []
    return sorted(key for key, at in waiting.items() if youngest_answered - at >= OVERTAKEN_BY)


def created_at(batch_id: str) -> datetime | None:
    """The time in a batch's id at which it was created; None if the id contains none."""
    try:
        return datetime.strptime(batch_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC) if is_batch_id(batch_id) else None
    except ValueError:
        return None


def next_look_at(batch_id: str, images: Mapping[str, datetime], answered: Collection[str], now: datetime) -> datetime:
    """When to check a batch again: in the next round, unless all of its images are answered.

    Args:
        images: when each image of the batch was stored, by key.
        answered: the keys that have a result.
    """
    if not all(key in answered for key in images):
        return now
    last_change = max(images.values(), default=created_at(batch_id))
    if last_change is None:
        return now + LOOK_AGAIN_AFTER
    return now + min((now - last_change) * LOOK_AGAIN_PART, LOOK_AGAIN_AFTER)


class Janitor:
    """The periodic task that answers dead letters and enqueues orphans, for the batches of the last day.

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
        # Caches that save requests; without an entry, an object is only checked once more.
        self._next_look_at: dict[str, datetime] = {}
        self._waiting = 0  # uploads without a result, in the last round
        self._enqueued_at: dict[str, datetime] = {}
        self._settled_letters: set[str] = set()
        self._letters_counted = 0
        self._letters_looked_at = _LONG_AGO

    def round(self) -> bool:
        """Run one round; what fails is logged and tried again in the next round, and does not stop the rest.

        Returns:
            Whether uploads wait for a result.

        Raises:
            RoundError: at least one part failed.
        """
        guard = ItemGuard()
        # In this order: a dead letter that has been answered is no orphan.
        for name, task in (("dead letters", self._answer_dead_letters), ("orphans", self._adopt_orphans)):
            with guard.item(name):
                task()
        guard.raise_failures()
        return self._waiting > 0

    def _answer_dead_letters(self) -> None:
        """Store a failure for each dead letter whose image has no result.

        Receiving them all takes a request for each ten, so it is done when their number has changed, after a failure,
        and now and then, because one may have taken the place of another.
        """
        now, count = self._clock(), self._dead_letters.count()
        if count == self._letters_counted and (not count or now - self._letters_looked_at < LOOK_AGAIN_AFTER):
            return
        letters = self._dead_letters.peek(MAX_DEAD_LETTERS_PER_ROUND)
        guard, settled = ItemGuard(), set()
        for letter in letters:
            with guard.item("a dead letter" if letter.job is None else f"the dead letter of {letter.job.key}"):
                if letter.message_id not in self._settled_letters:
                    self._settle(letter)
                settled.add(letter.message_id)
        # SQS's count is approximate, and an operator's `elastic dlq list` hides letters: fewer than counted are all
        # that there are if the next look finds none beside these.
        complete = len(letters) >= count or settled <= self._settled_letters
        self._letters_counted = count if complete and len(settled) == len(letters) else -1
        self._settled_letters, self._letters_looked_at = settled, now
        guard.raise_failures()

    def _settle(self, letter: ReceivedJob) -> None:
        job = letter.job
        if job is None:
            log.error("the dead letter %s is not a job: `elastic dlq delete --not-jobs` deletes it", letter.message_id)
            return
        if self._results.exists(job.key):
            return
        log.error("%s is a dead letter: answering with a failure", job.key)
        self._results.put(
            ClassificationResult(job.key, job.name, failure=GAVE_UP, job_id=job.job_id, worker_id=WORKER_ID)
        )

    def _adopt_orphans(self) -> None:
        """Enqueue orphans again."""
        # Counted before anything is listed: results are stored before jobs are deleted, so a job that this count no
        # longer includes has its result in the listings.
        queue_is_empty = self._jobs.backlog().total == 0
        now = self._clock()
        guard = ItemGuard()
        uploaded: dict[str, datetime] = {}
        answered: set[str] = set()
        batches = list(self._images.batches_since(now - LOOK_BACK))
        for batch_id in batches:
            if now >= self._next_look_at.get(batch_id, _LONG_AGO):
                with guard.item(f"batch {batch_id}"):
                    images, results = self._look_at(batch_id, now)
                    uploaded |= images
                    answered |= results
        # Batches leave the listing when they are deleted or older than the look-back.
        self._next_look_at = {
            batch_id: self._next_look_at[batch_id] for batch_id in batches if batch_id in self._next_look_at
        }
        self._waiting = len(uploaded.keys() - answered)
        for key in find_orphans(uploaded, answered, now, self._orphan_age, queue_is_empty=queue_is_empty):
            if now - self._enqueued_at.get(key, _LONG_AGO) >= self._orphan_age:
                with guard.item(f"the orphan {key}"):
                    self._enqueue(key, now)
        self._enqueued_at = {key: at for key, at in self._enqueued_at.items() if now - at < self._orphan_age}
        guard.raise_failures()

    def _look_at(self, batch_id: str, now: datetime) -> tuple[dict[str, datetime], set[str]]:
        """List a batch: when each image was stored, and the keys that have a result."""
        images = {stored.key: stored.last_modified for stored in self._images.list(batch_id)}
        results = {stored.key for stored in self._results.list(f"{batch_id}/")}
        self._next_look_at[batch_id] = next_look_at(batch_id, images, results, now)
        return images, results

    def _enqueue(self, key: str, now: datetime) -> None:
        log.warning("%s has neither a result nor a job: enqueueing it again", key)
        try:
            name = self._images.name(key)
        except NotFoundError:
            return  # deleted meanwhile
        batch_id = key.partition("/")[0]
        self._jobs.send([ClassificationJob(new_job_id(), batch_id, self._images.bucket, key, name)])
        self._enqueued_at[key] = now
