"""The bulk lane of a worker: bulk jobs, whose images pass through the stages while there are no others.

It has a long poll of its own, so that an interactive job is received at once whatever the lane does, and polls rarely
enough to cost next to nothing.  While the worker has an interactive job in hand, no further bulk image begins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cachetools import LRUCache, TTLCache

from app_tier.bulk_job import BulkImage, OpenBulkJob
from app_tier.in_hand import BusyTime, InHand
from app_tier.stages import Stages
from app_tier.statistics import Statistics
from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_queue import BulkQueue, ReceivedBulkJob
from aws.queue import Backlog
from core.bulk_run import BulkJob, LabelledImage, Part
from core.errors import CloudError, DecoderCrashError, DeniedError
from core.jobs import Failure

log = logging.getLogger(__name__)

# SQS's longest: the queue is asked three times a minute while it is empty.
WAIT_SECONDS = 20
# The next job is received while the last images of the one before are in the stages.
MAX_OPEN_JOBS = 2
# How long a worker may go on with the jobs of a run that is over.
OVER_SECONDS = 15.0
# A job that was delivered more often than this is answered without trying its images: something in it ends workers.
MAX_RECEIVE_COUNT = 10
MAX_BACKOFF_SECONDS = 60
# In hand for so many visibility timeouts, a job counts as hanging; see `app_tier.worker`.
MAX_RENEWALS = 20
_PATIENCE_SECONDS = 0.5


class BulkLane:
    """Answer bulk jobs: one part in the run's output for each.

    Args:
        source_of: returns the store of the photos of a bucket; the second argument is whether the requester pays.
        output_of: returns the store of an output's bucket.
        model: the bundle's full name.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        jobs: BulkQueue,
        source_of: Callable[[str, bool], PhotoSource],
        output_of: Callable[[str], BulkOutput],
        model: str,
        visibility_timeout_seconds: int,
        wait_seconds: int = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._source_of = source_of
        self._output_of = output_of
        self._model = model
        self._visibility_timeout_seconds = visibility_timeout_seconds
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._sources: LRUCache[tuple[str, bool], PhotoSource] = LRUCache(16)
        self._over: TTLCache[str, bool] = TTLCache(64, OVER_SECONDS, clock)
        self._open: set[OpenBulkJob] = set()
        self._settled = threading.Condition()

    def start(
        self, stages: Stages, statistics: Statistics, others: InHand, busy: BusyTime, stop: threading.Event
    ) -> threading.Thread:
        """Receive bulk jobs in a thread until `stop` is set; return the thread.

        Args:
            others: the interactive jobs in hand, which go first.
            busy: counts the time with any job in hand.
        """
        self._stages, self._statistics, self._others, self._stop = stages, statistics, others, stop
        self._in_hand = InHand(MAX_OPEN_JOBS, busy)
        self._room = threading.Semaphore(stages.capacity)
        thread = threading.Thread(target=self._run, name="bulk", daemon=True)
        thread.start()
        return thread

    @property
    def images_in_hand(self) -> int:
        """How many images of the jobs in hand are not answered."""
        return sum(max(1, open_job.remaining) for open_job in list(self._open))

    def backlog(self) -> Backlog:
        """Count the jobs of the queue.  A queue that cannot be reached is none: the lane is an addition."""
        try:
            return self._jobs.backlog()
        except CloudError:
            return Backlog(0, 0)

    def renew_visibility(self) -> None:
        """Renew the visibility timeout of the jobs in hand, except for those that hang."""
        window = self._visibility_timeout_seconds
        hanging = set(self._in_hand.older_than(MAX_RENEWALS * window, self._clock()))
        handles = self._in_hand.older_than(window / 3, self._clock())
        self._jobs.extend([handle for handle in handles if handle not in hanging], window)

    def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Wait up to `timeout_seconds` until no job is in hand or being returned; return whether that is so."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._open, timeout_seconds)

    # --- receive ---------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            if not self._others.wait_until_empty(_PATIENCE_SECONDS):
                continue
            if not self._in_hand.wait_for_room(_PATIENCE_SECONDS):
                continue
            try:
                delivery = self._jobs.receive(self._wait_seconds)
                if delivery is not None:
                    self._take(delivery)
                failures = 0
            except CloudError as error:
                failures += 1
                # Once, not in each minute: the stack of an earlier version has no such queue.
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "no bulk jobs: %s", error)
                self._stop.wait(min(2.0**failures * 0.1, MAX_BACKOFF_SECONDS))
            except Exception:  # this thread must go on
                failures += 1
                log.exception("unexpected exception in the bulk lane")
                self._stop.wait(min(2.0**failures * 0.1, MAX_BACKOFF_SECONDS))

    def _take(self, delivery: ReceivedBulkJob) -> None:
        handle, job = delivery.receipt_handle, delivery.job
        if job is None:
            log.error("a message is not a bulk job (delivery %d): it is deleted", delivery.receive_count)
            self._jobs.delete([handle])
            return
        if self._is_over(job):
            self._jobs.delete([handle])
            return
        open_job = OpenBulkJob(job, handle, delivery.receive_count, self._submit_end, self._room.release)
        self._open.add(open_job)
        self._in_hand.add(handle, self._clock())
        if delivery.receive_count > MAX_RECEIVE_COUNT:
            log.error("the job %d of the run %s was delivered too often", job.part, job.run_id)
            failure = Failure(DecoderCrashError.code, "the photo, or another of its job, ends its workers")
            self._store(open_job, tuple(LabelledImage(key, failure=failure) for key in job.keys))
            return
        self._feed(open_job)

    def _is_over(self, job: BulkJob) -> bool:
        """Whether the job's run was cancelled, or is complete, as after a job that was delivered twice."""
        run = f"{job.output_bucket}/{job.cancelled_key}"
        if run not in self._over:
            self._over[run] = any(self._exists(job.output_bucket, key) for key in (job.cancelled_key, job.success_key))
        return self._over[run]

    def _exists(self, bucket: str, key: str) -> bool:
        try:
            return self._output_of(bucket).get(key) is not None
        except DeniedError:  # so S3 says of what does not exist where listing is not allowed
            return False

    def _feed(self, open_job: OpenBulkJob) -> None:
        """Pass the images of a job to the stages: no more than keep these busy, and none while there are others."""
        source = self._source(open_job.job)
        for index in range(len(open_job.job.keys)):
            if not self._wait_for_turn():
                open_job.stop()
                return
            if not open_job.begin(index):
                self._room.release()
                return
            self._stages.submit(BulkImage(open_job, index, source.get, self._stages.submit))

    def _wait_for_turn(self) -> bool:
        """Wait until an image may begin; return whether it may, and not the worker ends."""
        while not self._stop.is_set():
            if self._others.wait_until_empty(_PATIENCE_SECONDS) and self._room.acquire(timeout=_PATIENCE_SECONDS):
                return True
        return False

    def _source(self, job: BulkJob) -> PhotoSource:
        name = job.source_bucket, job.requester_pays
        if name not in self._sources:
            self._sources[name] = self._source_of(*name)
        return self._sources[name]

    # --- store -----------------------------------------------------------------------------------

    def _submit_end(self, open_job: OpenBulkJob) -> None:
        # In this very thread if the pool is closed, or the job would only be returned by its visibility timeout.
        try:
            self._stages.pool.submit(self._end, open_job)
        except RuntimeError:
            self._end(open_job)

    def _end(self, open_job: OpenBulkJob) -> None:
        if open_job.must_return is not None:
            self._give_back(open_job, open_job.must_return)
        else:
            self._store(open_job, open_job.answers)

    def _store(self, open_job: OpenBulkJob, answers: tuple[LabelledImage, ...]) -> None:
        job = open_job.job
        part = Part(job.run_id, job.part, self._model, answers)
        try:
            self._output_of(job.output_bucket).put(job.part_key, part.encode())
        except Exception as error:
            log.error("%s; the job %d of the run %s will be tried again", error, job.part, job.run_id)
            self._give_back(open_job, min(2**open_job.receive_count, MAX_BACKOFF_SECONDS))
            return
        for index, image in enumerate(answers):
            self._statistics.record(open_job.stage_milliseconds(index), failed=image.failure is not None)
        self._settle(open_job, lambda: self._jobs.delete([open_job.receipt_handle]))

    def _give_back(self, open_job: OpenBulkJob, delay_seconds: int) -> None:
        # Out of hand first, so that no renewal hides a job that is being returned to the queue.
        self._in_hand.discard(open_job.receipt_handle, self._clock())
        self._settle(open_job, lambda: self._jobs.extend([open_job.receipt_handle], delay_seconds))

    def _settle(self, open_job: OpenBulkJob, request: Callable[[], None]) -> None:
        try:
            request()
        except CloudError as error:
            log.warning("%s; the job will be delivered again", error)
        except Exception:
            log.exception("unexpected exception while settling; the job will be delivered again")
        finally:
            self._in_hand.discard(open_job.receipt_handle, self._clock())
            with self._settled:
                self._open.discard(open_job)
                self._settled.notify_all()
