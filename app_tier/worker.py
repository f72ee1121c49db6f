"""The worker: receive → fetch → decode → classify → store → acknowledge, each stage in threads of its own.

A job is deleted from the queue only after its result is stored, so a worker may be killed at any moment: its jobs are
delivered again when their visibility timeout ends, and answering a job twice writes the same object twice.  A periodic
task renews the visibility timeout of the jobs in hand.  `app_tier.stages` has the stages in the middle;
`app_tier.bulk_lane` passes the images of bulk jobs through them while there are no others.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from app_tier.decode import DecodedImage
from app_tier.idleness import Idleness
from app_tier.in_hand import BusyTime, InHand
from app_tier.quarantine import QuarantineError
from app_tier.result_packer import ResultPacker
from app_tier.stages import Labeller, Stages, Work
from app_tier.statistics import Report, Statistics, Vitals
from aws.buckets import ImageStore, ResultStore
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, JobQueue, ReceivedJob
from core.errors import AlreadyExistsError, CloudError, ImageError, MissingImageError
from core.image_layouts import is_named
from core.jobs import ClassificationJob, ClassificationResult, Failure, Prediction, batch_of, is_key
from core.periodic_task import PeriodicTask
from core.response_time import response_time
from core.settings import Settings

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
# How long acknowledgements wait for a request to fill.
SETTLE_FLUSH_SECONDS = 0.2
# How long to wait for the room that makes a full request of receiving; what hangs in hand delays others no longer.
ROOM_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60
# A worker that cannot reach the queue for this long exits; cron or the fleet starts a new one.
GIVE_UP_SECONDS = 60.0
# In hand for this many visibility timeouts, a job counts as hanging: it is not renewed, and others may receive it.
MAX_RENEWALS = 20


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of a worker: fields of `core.settings.Settings`, and `model`, the bundle's full name."""

    worker_id: str
    model: str
    visibility_timeout_seconds: int
    receive_wait_seconds: int
    io_threads: int
    inference_batch_size: int
    max_jobs_in_hand: int
    shutdown_grace_seconds: float
    idle_shutdown_seconds: float = 0.0
    decode_memory_bytes: int = Settings().decode_memory_bytes
    results_per_object: int = Settings().results_per_object


class Lane(Protocol):
    """The methods used of `app_tier.bulk_lane.BulkLane`."""

    @property
    def images_in_hand(self) -> int: ...
    def start(
        self, stages: Stages, statistics: Statistics, others: InHand, busy: BusyTime, stop: threading.Event
    ) -> threading.Thread: ...
    def backlog(self) -> Backlog: ...
    def renew_visibility(self) -> None: ...
    def wait_until_empty(self, timeout_seconds: float) -> bool: ...


@dataclass(slots=True, eq=False)
class _Image:
    """One delivery of a job on its way through the stages: a `Task` whose effects are the worker's."""

    worker: Worker
    delivery: ReceivedJob
    job: ClassificationJob

    @property
    def receive_count(self) -> int:
        return self.delivery.receive_count

    def fetch(self) -> bytes:
        return self.worker.images.get(self.job.key)

    def answer(self, work: Work, predictions: tuple[Prediction, ...]) -> None:
        self.worker.store(self, work, self.worker.result(self, work, predictions=predictions))

    def fail(self, work: Work, error: ImageError) -> None:
        self.worker.store(self, work, self.worker.failed(self, work, error))

    def miss(self, work: Work) -> None:
        self.worker.answer_missing(self, work)

    def crash(self, work: Work, error: QuarantineError) -> None:
        # A longer delay would not help: soon the queue moves the job to the dead letters.
        log.error("%s (delivery %d): %s", self.job.key, self.delivery.receive_count, error)
        self.worker.give_back(self.delivery, delay_seconds=1)

    def postpone(self, work: Work, error: Exception | None) -> None:
        if error is not None:
            log_trouble(self.job.key, error)
        self.worker.back_off(self.delivery)

    def release(self, work: Work) -> None:
        self.worker.give_back(self.delivery, delay_seconds=0)


# An image whose result is to be stored.
_Answered = tuple[_Image, Work, ClassificationResult]


class Worker:
    """Answer jobs until `stop` is set.

    Args:
        decode: turns a file's bytes into the pixels that `labeller` wants, and a remark where the file is incomplete;
            raises `ImageError`; picklable.
        on_report: called with the worker's statistics every minute and at its end; must not raise.
        on_answer: called with each result once it is stored; must not raise, and return at once.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch.
        fleet_running_since: since when some instance of the fleet has been running, in seconds since the epoch.
        respond: called with each result once it is stored, before its job is deleted; a job for which it raises is
            delivered again.
        bulk: takes bulk jobs; None: there are none.
    """

    def __init__(
        self,
        jobs: JobQueue,
        images: ImageStore,
        results: ResultStore,
        decode: Callable[[bytes], DecodedImage],
        labeller: Labeller,
        options: WorkerOptions,
        on_report: Callable[[Report], None] = lambda report: None,
        clock: Callable[[], float] = time.monotonic,
        on_answer: Callable[[ClassificationResult], None] = lambda result: None,
        wall_clock: Callable[[], float] = time.time,
        fleet_running_since: float = 0.0,
        respond: Callable[[ClassificationResult], None] = lambda result: None,
        bulk: Lane | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._respond = respond
        self._wall_clock = wall_clock
        self._fleet_running_since = fleet_running_since
        self._jobs = jobs
        self.images = images
        self._results = results
        self._options = options
        self._bulk = bulk
        self._on_report = on_report
        self._clock = clock
        self._busy = BusyTime()
        self._in_hand = InHand(options.max_jobs_in_hand, self._busy)
        self.statistics = Statistics(clock())
        self.stages = Stages(
            decode,
            labeller,
            self.statistics,
            io_threads=options.io_threads,
            inference_batch_size=options.inference_batch_size,
            decode_memory_bytes=options.decode_memory_bytes,
            clock=clock,
        )
        # So many places are free before jobs are received, while two thirds of the jobs in hand keep the stages busy.
        self._wanted_room = max(1, min(MAX_MESSAGES_PER_REQUEST, options.max_jobs_in_hand // 3))
        # While a pack fills, the stages before need jobs, too.
        pack_size = min(options.results_per_object, options.max_jobs_in_hand // 3)
        self._packer: ResultPacker[_Answered] = ResultPacker(
            pack_size, lambda answered: batch_of(answered[2].key), lambda: self._stop.is_set(), clock
        )
        # Bounded by what is in hand, as what the stages hold.
        self._settled: queue.SimpleQueue[tuple[str, int | None] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._receiving_since: float | None = None  # without an error and without a job

    def run(self, stop: threading.Event) -> bool:
        """Answer jobs until `stop` is set or the queue stays empty for `idle_shutdown_seconds`, then drain.

        Draining finishes the images in the interpreter and returns the other jobs to the queue.

        Returns:
            Whether `stop` was set.

        Raises:
            CloudError: the queue could not be reached for a minute.
        """
        self._stop = stop
        threads = self.stages.start(stop)
        for target in (self._settle, self._pack):
            thread = threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True)
            thread.start()
            threads.append(thread)
        if self._bulk is not None:
            # Not waited for in the end: it may be in a long poll, and nothing is in hand then.
            self._bulk.start(self.stages, self.statistics, self._in_hand, self._busy, stop)
        window = self._options.visibility_timeout_seconds
        for task in (
            PeriodicTask("visibility", window / 3, self._renew_visibility),
            PeriodicTask("report", REPORT_SECONDS, self._report_once),
        ):
            threads.append(task.start(self._ended))
        try:
            self._receive()
            return stop.is_set()
        finally:
            stop.set()
            self._drain()
            for thread in threads:
                thread.join(timeout=1)

    @property
    def model(self) -> str:
        """The full name of the model bundle that answers."""
        return self._options.model

    def is_busy(self) -> bool:
        """Whether any job is in hand."""
        return self._images_in_hand > 0

    @property
    def _images_in_hand(self) -> int:
        return len(self._in_hand) + (0 if self._bulk is None else self._bulk.images_in_hand)

    def idle_seconds(self) -> float:
        """How long this worker has waited for jobs with nothing in hand; 0 while it works or cannot receive."""
        receiving_since = self._receiving_since
        if receiving_since is None or self._images_in_hand:
            return 0.0
        return max(0.0, self._clock() - max(receiving_since, self._busy.idle_since))

    def vitals(self) -> Vitals:
        """This worker's counts, and the number of its jobs in hand."""
        return self.statistics.vitals(self._images_in_hand, self._busy.seconds(self._clock()))

    # --- receive ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        last_success, failures = self._clock(), 0
        idle = Idleness(self._options.idle_shutdown_seconds, self._clock())
        while not self._stop.is_set():
            room = self._in_hand.wait_for_room(ROOM_SECONDS, self._wanted_room)
            if not room:
                continue
            if self._receiving_since is None:
                self._receiving_since = self._clock()
            try:
                deliveries = self._jobs.receive(room, self._options.receive_wait_seconds)
                if idle.is_over(self._clock(), busy=bool(deliveries or self._images_in_hand), count=self._backlog):
                    log.info("leaving: nothing to do for %g s", self._options.idle_shutdown_seconds)
                    return
            except CloudError as error:
                failures, self._receiving_since = failures + 1, None
                if self._clock() - last_success > GIVE_UP_SECONDS:
                    raise
                log.warning("%s", error)
                self._stop.wait(min(2.0**failures * 0.1, 10.0))
                continue
            last_success, failures = self._clock(), 0
            if deliveries:
                self._receiving_since = None
            for delivery in deliveries:
                if delivery.sent_at is not None:
                    self.statistics.record_age(max(0.0, self._wall_clock() - delivery.sent_at))
                self._in_hand.add(delivery.receipt_handle, self._clock())
                self._begin(delivery)

    def _begin(self, delivery: ReceivedJob) -> None:
        if delivery.job is not None:
            self.stages.submit(_Image(self, delivery, delivery.job))
        elif delivery.is_void:
            log.info("a notification of S3 asks for nothing: it is deleted")
            self._settled.put((delivery.receipt_handle, None))
        else:
            log.error(
                "a message is not a job (delivery %d); it will end in the dead-letter queue", delivery.receive_count
            )
            self.back_off(delivery)

    def _backlog(self) -> Backlog:
        """What waits for any worker: jobs, and bulk jobs."""
        jobs = self._jobs.backlog()
        bulk = Backlog(0, 0) if self._bulk is None else self._bulk.backlog()
        return Backlog(jobs.visible + bulk.visible, jobs.in_flight + bulk.in_flight)

    # --- answer -------------------------------------------------------------------------------

    def answer_missing(self, image: _Image, work: Work) -> None:
        """Store a failure for a missing image, unless its batch was deleted or the image is already answered.

        A dropped photo is no part of a batch: one that was deleted needs no answer.
        """
        job = image.job
        try:
            exists = is_named(job.key) or (is_key(job.key) and self.images.has_batch(job.batch_id))
        except Exception as error:
            log_trouble(job.key, error)
            self.back_off(image.delivery)
            return
        if exists:
            self.store(image, work, self.failed(image, work, MissingImageError()), only_if_new=True)
        else:
            # Deleted with all its data: a result would bring some of that back.
            self._settled.put((image.delivery.receipt_handle, None))

    def failed(self, image: _Image, work: Work, error: ImageError) -> ClassificationResult:
        """The result of an image that cannot be classified."""
        return self.result(image, work, failure=Failure(error.code, str(error)))

    def result(
        self,
        image: _Image,
        work: Work,
        predictions: tuple[Prediction, ...] = (),
        failure: Failure | None = None,
    ) -> ClassificationResult:
        """The result of an image that has passed the stages."""
        return ClassificationResult(
            key=image.job.key,
            name=image.job.name,
            predictions=predictions,
            failure=failure,
            note=work.note,
            job_id=image.job.job_id,
            model=self._options.model,
            worker_id=self._options.worker_id,
            stage_milliseconds=work.stage_milliseconds,
        )

    # --- store and acknowledge -------------------------------------------------------------------

    def store(self, image: _Image, work: Work, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        """Store a result, or leave that to the next pack, then have its job deleted."""
        if self._packer.size > 1 and is_key(result.key) and not only_if_new:
            self._packer.put((image, work, result))
        else:
            self._store_one(image, work, result, only_if_new=only_if_new)

    def _store_one(self, image: _Image, work: Work, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        try:
            self._results.put(self._timed(image.delivery, work, result), only_if_new=only_if_new)
        except AlreadyExistsError:
            self._settled.put((image.delivery.receipt_handle, None))
        except Exception as error:  # this job is delivered again; the others are not affected
            log_trouble(result.key, error)
            self.back_off(image.delivery)
        else:
            self._acknowledge(image, work, result)

    def _acknowledge(self, image: _Image, work: Work, result: ClassificationResult) -> None:
        """Let a job be deleted whose result is stored."""
        try:
            self._respond(result)
        except Exception as error:  # as in `_store_one`
            log_trouble(result.key, error)
            self.back_off(image.delivery)
        else:
            self.statistics.record(work.stage_milliseconds, failed=result.failure is not None)
            self._settled.put((image.delivery.receipt_handle, None))
            self._on_answer(result)

    def _pack(self) -> None:
        for items in self._packer.packs():
            self.stages.pool.submit(self._store_pack, items)

    def _store_pack(self, items: list[_Answered]) -> None:
        """Store results of one batch in one object, and acknowledge their jobs."""
        if len(items) == 1:
            self._store_one(*items[0])
            return
        try:
            self._results.put_together([self._timed(image.delivery, work, result) for image, work, result in items])
        except ValueError as error:
            log.warning("%d results are stored one by one: %s", len(items), error)
            for item in items:
                self._store_one(*item)
        except Exception as error:  # these jobs are delivered again
            for image, _work, result in items:
                log_trouble(result.key, error)
                self.back_off(image.delivery)
        else:
            for item in items:
                self._acknowledge(*item)

    def _timed(self, delivery: ReceivedJob, work: Work, result: ClassificationResult) -> ClassificationResult:
        sent_at = delivery.sent_at
        if sent_at is None:
            return result
        classifying = sum(work.stage_milliseconds.values()) / 1000
        took = response_time(sent_at, self._fleet_running_since, self._wall_clock(), classifying)
        return replace(result, response_time=took)

    def back_off(self, delivery: ReceivedJob) -> None:
        """Have a job delivered again after a pause that grows with its deliveries."""
        self.give_back(delivery, delay_seconds=min(2**delivery.receive_count, MAX_BACKOFF_SECONDS))

    def give_back(self, delivery: ReceivedJob, delay_seconds: int) -> None:
        """Return a job to the queue."""
        self._settled.put((delivery.receipt_handle, delay_seconds))

    def _settle(self) -> None:
        """Delete answered jobs and return others to the queue, in as few requests as possible."""
        ended = False
        while not ended:
            items = [self._settled.get()]
            deadline = self._clock() + SETTLE_FLUSH_SECONDS
            while len(items) < min(MAX_MESSAGES_PER_REQUEST, len(self._in_hand)) and items[-1] is not None:
                try:
                    items.append(self._settled.get(timeout=max(0.0, deadline - self._clock())))
                except queue.Empty:
                    break
            ended = items[-1] is None
            groups: dict[int | None, list[str]] = {}
            for handle, delay_seconds in (item for item in items if item is not None):
                groups.setdefault(delay_seconds, []).append(handle)
            for delay_seconds, handles in groups.items():
                self._settle_group(handles, delay_seconds)

    def _settle_group(self, handles: list[str], delay_seconds: int | None) -> None:
        # Out of hand first, so that no renewal hides a job that is being returned to the queue.
        if delay_seconds is not None:
            self._let_go(handles)
        try:
            if delay_seconds is None:
                self._jobs.delete(handles)
            else:
                self._jobs.extend(handles, delay_seconds)
        except CloudError as error:
            log.warning("%s; the jobs will be delivered again", error)
        except Exception:  # this thread must go on, since without it no job is deleted
            log.exception("unexpected exception while settling; the jobs will be delivered again")
        finally:
            self._let_go(handles)

    def _let_go(self, handles: list[str]) -> None:
        for handle in handles:
            self._in_hand.discard(handle, self._clock())

    # --- beside the stages -----------------------------------------------------------------------

    def _renew_visibility(self) -> None:
        """Renew the visibility timeout by a fixed time, so that a crash hides a job no longer than that."""
        window = self._options.visibility_timeout_seconds
        hanging = set(self._in_hand.older_than(MAX_RENEWALS * window, self._clock()))
        handles = self._in_hand.older_than(window / 3, self._clock())
        self._jobs.extend([handle for handle in handles if handle not in hanging], window)
        if self._bulk is not None:
            self._bulk.renew_visibility()

    def _report_once(self) -> None:
        now = self._clock()
        if report := self.statistics.report(now, self._busy.take_seconds(now)):
            log.info("%s", report.line())
            self._on_report(report)

    def _drain(self) -> None:
        deadline = self._clock() + self._options.shutdown_grace_seconds
        is_empty = self._in_hand.wait_until_empty(self._options.shutdown_grace_seconds)
        if self._bulk is not None:
            is_empty = self._bulk.wait_until_empty(max(0.0, deadline - self._clock())) and is_empty
        if not is_empty:
            log.warning(
                "%d jobs are left in hand; they are delivered again when their visibility timeout ends",
                self._images_in_hand,
            )
        self._packer.end()
        self.stages.close()
        self._settled.put(None)
        self._ended.set()
        self._report_once()


def log_trouble(key: str, error: Exception) -> None:
    """Log why an image will be tried again."""
    if isinstance(error, CloudError):
        log.warning("%s: %s; it will be tried again", key, error)
    else:
        log.error("%s: unexpected trouble; it will be tried again", key, exc_info=error)
