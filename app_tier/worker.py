"""The worker: receive → fetch → decode → classify → store → acknowledge, each stage in threads of its own.

A job is deleted from the queue only after its result is stored, so a worker may be killed at any moment: its jobs are
delivered again when their visibility timeout ends, and answering a job twice writes the same object twice.  A periodic
task renews the visibility timeout of the jobs in hand.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app_tier.decode import DecodedImage, needs_own_process
from app_tier.idleness import Idleness
from app_tier.in_hand import InHand
from app_tier.quarantine import Quarantine, QuarantineError
from app_tier.result_packer import ResultPacker
from app_tier.statistics import Report, Statistics, Vitals
from aws.buckets import ImageStore, ResultStore
from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue, ReceivedJob
from core.errors import AlreadyExistsError, CloudError, ImageError, MissingImageError, NotFoundError
from core.image_layouts import is_named
from core.jobs import ClassificationJob, ClassificationResult, Failure, Prediction, batch_of, is_key
from core.periodic_task import PeriodicTask
from core.response_time import response_time
from core.settings import Settings

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

REPORT_SECONDS = 60.0
# How long the interpreter waits for a batch to fill, and acknowledgements for a request to fill.
BATCH_FLUSH_SECONDS = 0.004
SETTLE_FLUSH_SECONDS = 0.2
# How long to wait for the room that makes a full request of receiving; what hangs in hand delays others no longer.
ROOM_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60
# A worker that cannot reach the queue for this long exits; cron or the fleet starts a new one.
GIVE_UP_SECONDS = 60.0
# From this delivery on, an image is decoded in quarantine.  One redelivery is common: a crash, or scale-in.
SUSPECT_RECEIVE_COUNT = 3
# In hand for this many visibility timeouts, a job counts as hanging: it is not renewed, and others may receive it.
MAX_RENEWALS = 20
_END = None


class Labeller(Protocol):
    """The methods used of `app_tier.classifier.Classifier`; `parallelism` calls of `classify` may run at a time."""

    parallelism: int

    def classify(self, images: Sequence[Pixels]) -> list[tuple[Prediction, ...]]:
        """Predictions for each image, best first."""
        ...


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


@dataclass(slots=True)
class _Work:
    """One delivery on its way through the stages."""

    delivery: ReceivedJob
    pixels: Pixels | None = None
    note: str = ""
    stage_milliseconds: dict[str, float] = field(default_factory=dict)


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
    ) -> None:
        self._on_answer = on_answer
        self._respond = respond
        self._wall_clock = wall_clock
        self._fleet_running_since = fleet_running_since
        self._jobs = jobs
        self._images = images
        self._results = results
        self._decode = decode
        self._labeller = labeller
        self._options = options
        self._on_report = on_report
        self._clock = clock
        self._quarantine = Quarantine(decode, memory_bytes=options.decode_memory_bytes)
        self._in_hand = InHand(options.max_jobs_in_hand)
        self._statistics = Statistics(clock())
        # Both are bounded by what is in hand, so they need no bound of their own.
        self._ready: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._settled: queue.SimpleQueue[tuple[str, int | None] | None] = queue.SimpleQueue()
        # So many places are free before jobs are received, while two thirds of the jobs in hand keep the stages busy.
        self._wanted_room = max(1, min(MAX_MESSAGES_PER_REQUEST, options.max_jobs_in_hand // 3))
        # While a pack fills, the stages before need jobs, too.
        pack_size = min(options.results_per_object, options.max_jobs_in_hand // 3)
        self._packer: ResultPacker[tuple[_Work, ClassificationResult]] = ResultPacker(
            pack_size, lambda item: batch_of(item[1].key), lambda: self._stop.is_set(), clock
        )
        self._pool = ThreadPoolExecutor(options.io_threads, thread_name_prefix="io")
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
        classifying = [self._classify] * self._labeller.parallelism
        threads = [
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True)
            for target in (*classifying, self._settle, self._pack)
        ]
        for thread in threads:
            thread.start()
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
        return len(self._in_hand) > 0

    def idle_seconds(self) -> float:
        """How long this worker has waited for jobs with nothing in hand; 0 while it works or cannot receive."""
        receiving_since = self._receiving_since
        if receiving_since is None or self._in_hand:
            return 0.0
        return max(0.0, self._clock() - max(receiving_since, self._in_hand.empty_since))

    def vitals(self) -> Vitals:
        """This worker's counts, and the number of its jobs in hand."""
        return self._statistics.vitals(len(self._in_hand), self._in_hand.busy_seconds(self._clock()))

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
                if idle.is_over(self._clock(), busy=bool(deliveries or self._in_hand), count=self._jobs.backlog):
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
                    self._statistics.record_age(max(0.0, self._wall_clock() - delivery.sent_at))
                self._in_hand.add(delivery.receipt_handle, self._clock())
                self._pool.submit(self._prepare, _Work(delivery))

    # --- fetch and decode ------------------------------------------------------------------------

    def _prepare(self, work: _Work) -> None:
        job = work.delivery.job
        if self._stop.is_set():
            self._give_back(work, delay_seconds=0)
        elif work.delivery.is_void:
            log.info("a notification of S3 asks for nothing: it is deleted")
            self._settled.put((work.delivery.receipt_handle, None))
        elif job is None:
            log.error(
                "a message is not a job (delivery %d); it will end in the dead-letter queue",
                work.delivery.receive_count,
            )
            self._back_off(work)
        else:
            try:
                started = self._clock()
                body = self._images.get(job.key)
                fetched = self._clock()
                work.stage_milliseconds["fetch"] = (fetched - started) * 1000
                try:
                    decoded = self._decoder_for(work, body)(body)
                    work.pixels, work.note = decoded.pixels, decoded.note
                finally:
                    work.stage_milliseconds["decode"] = (self._clock() - fetched) * 1000
            except NotFoundError:
                self._answer_missing(work, job)
            except ImageError as error:
                self._store(work, self._failed(work, job, error))
            except QuarantineError as error:
                # A longer delay would not help: soon the queue moves the job to the dead letters.
                log.error("%s (delivery %d): %s", job.key, work.delivery.receive_count, error)
                self._give_back(work, delay_seconds=1)
            except Exception as error:  # one image must not affect the others of its batch
                self._log_trouble(job, error)
                self._back_off(work)
            else:
                self._ready.put(work)

    def _answer_missing(self, work: _Work, job: ClassificationJob) -> None:
        """Store a failure for a missing image, unless its batch was deleted or the image is already answered.

        A dropped photo is no part of a batch: one that was deleted needs no answer.
        """
        try:
            exists = is_named(job.key) or (is_key(job.key) and self._images.has_batch(job.batch_id))
        except Exception as error:
            self._log_trouble(job, error)
            self._back_off(work)
            return
        if exists:
            self._store(work, self._failed(work, job, MissingImageError()), only_if_new=True)
        else:
            # Deleted with all its data: a result would bring some of that back.
            self._settled.put((work.delivery.receipt_handle, None))

    def _decoder_for(self, work: _Work, body: bytes) -> Callable[[bytes], DecodedImage]:
        is_suspect = work.delivery.receive_count >= SUSPECT_RECEIVE_COUNT
        return self._quarantine.decode if is_suspect or needs_own_process(body) else self._decode

    # --- classify --------------------------------------------------------------------------------

    def _classify(self) -> None:
        while (first := self._ready.get()) is not _END:
            batch = self._fill_batch(first)
            if self._stop.is_set():
                for work in batch:
                    self._give_back(work, delay_seconds=0)
            else:
                self._classify_batch(batch)
        self._ready.put(_END)  # for the other threads that classify

    def _fill_batch(self, first: _Work) -> list[_Work]:
        batch, deadline = [first], self._clock() + BATCH_FLUSH_SECONDS
        while len(batch) < self._options.inference_batch_size:
            try:
                work = self._ready.get(timeout=max(0.0, deadline - self._clock()))
            except queue.Empty:
                break
            if work is _END:
                self._ready.put(_END)
                break
            batch.append(work)
        return batch

    def _classify_batch(self, batch: list[_Work]) -> None:
        started = self._clock()
        try:
            answers = self._labeller.classify([work.pixels for work in batch if work.pixels is not None])
            answered = list(zip(batch, answers, strict=True))
        except Exception:
            log.exception("the interpreter failed on a batch of %d", len(batch))
            for work in batch:
                self._back_off(work)
            return
        seconds = self._clock() - started
        self._statistics.record_batch(len(batch), seconds)
        for work, predictions in answered:
            work.pixels = None
            work.stage_milliseconds["classify"] = seconds / len(batch) * 1000
            self._pool.submit(self._store, work, self._classified(work, predictions))

    def _classified(self, work: _Work, predictions: tuple[Prediction, ...]) -> ClassificationResult:
        assert work.delivery.job is not None
        return self._result(work, work.delivery.job, predictions=predictions)

    def _failed(self, work: _Work, job: ClassificationJob, error: ImageError) -> ClassificationResult:
        return self._result(work, job, failure=Failure(error.code, str(error)))

    def _result(
        self,
        work: _Work,
        job: ClassificationJob,
        predictions: tuple[Prediction, ...] = (),
        failure: Failure | None = None,
    ) -> ClassificationResult:
        return ClassificationResult(
            key=job.key,
            name=job.name,
            predictions=predictions,
            failure=failure,
            note=work.note,
            job_id=job.job_id,
            model=self._options.model,
            worker_id=self._options.worker_id,
            stage_milliseconds=work.stage_milliseconds,
        )

    # --- store and acknowledge -------------------------------------------------------------------

    def _store(self, work: _Work, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        """Store a result, or leave that to the next pack, and acknowledge its job."""
        if self._packer.size > 1 and is_key(result.key) and not only_if_new:
            self._packer.put((work, result))
        else:
            self._store_one(work, result, only_if_new=only_if_new)

    def _store_one(self, work: _Work, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        try:
            self._results.put(self._timed(work, result), only_if_new=only_if_new)
        except AlreadyExistsError:
            self._settled.put((work.delivery.receipt_handle, None))
        except Exception as error:  # this job is delivered again; the others are not affected
            self._log_trouble(result, error)
            self._back_off(work)
        else:
            self._acknowledge(work, result)

    def _acknowledge(self, work: _Work, result: ClassificationResult) -> None:
        """Let a job be deleted whose result is stored."""
        try:
            self._respond(result)
        except Exception as error:  # as in `_store_one`
            self._log_trouble(result, error)
            self._back_off(work)
        else:
            self._statistics.record(work.stage_milliseconds, failed=result.failure is not None)
            self._settled.put((work.delivery.receipt_handle, None))
            self._on_answer(result)

    def _pack(self) -> None:
        for items in self._packer.packs():
            self._pool.submit(self._store_pack, items)

    def _store_pack(self, items: list[tuple[_Work, ClassificationResult]]) -> None:
        """Store results of one batch in one object, and acknowledge their jobs."""
        if len(items) == 1:
            self._store_one(*items[0])
            return
        try:
            self._results.put_together([self._timed(work, result) for work, result in items])
        except ValueError as error:
            log.warning("%d results are stored one by one: %s", len(items), error)
            for work, result in items:
                self._store_one(work, result)
        except Exception as error:  # these jobs are delivered again
            for work, result in items:
                self._log_trouble(result, error)
                self._back_off(work)
        else:
            for work, result in items:
                self._acknowledge(work, result)

    def _timed(self, work: _Work, result: ClassificationResult) -> ClassificationResult:
        sent_at = work.delivery.sent_at
        if sent_at is None:
            return result
        classifying = sum(work.stage_milliseconds.values()) / 1000
        took = response_time(sent_at, self._fleet_running_since, self._wall_clock(), classifying)
        return replace(result, response_time=took)

    def _back_off(self, work: _Work) -> None:
        self._give_back(work, delay_seconds=min(2**work.delivery.receive_count, MAX_BACKOFF_SECONDS))

    def _give_back(self, work: _Work, delay_seconds: int) -> None:
        self._settled.put((work.delivery.receipt_handle, delay_seconds))

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

    def _report_once(self) -> None:
        now = self._clock()
        if report := self._statistics.report(now, self._in_hand.take_busy_seconds(now)):
            log.info("%s", report.line())
            self._on_report(report)

    def _drain(self) -> None:
        if not self._in_hand.wait_until_empty(self._options.shutdown_grace_seconds):
            log.warning(
                "%d jobs are left in hand; they are delivered again when their visibility timeout ends",
                len(self._in_hand),
            )
        self._ready.put(_END)
        self._packer.end()
        self._settled.put(None)
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._quarantine.close()
        self._report_once()

    def _log_trouble(self, about: ClassificationJob | ClassificationResult, error: Exception) -> None:
        if isinstance(error, CloudError):
            log.warning("%s: %s; it will be tried again", about.key, error)
        else:
            log.exception("%s: unexpected trouble; it will be tried again", about.key)
