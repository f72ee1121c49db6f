"""The stages between receiving and storing: fetch → decode → classify, each in threads of its own.

What an image is, where its bytes come from and what becomes of its answer is the business of its `Task`: the worker's
jobs and the images of bulk jobs pass through the same stages.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app_tier.decode import DecodedImage, needs_own_process
from app_tier.quarantine import Quarantine, QuarantineError
from app_tier.statistics import Statistics
from core.errors import ImageError, NotFoundError
from core.jobs import Prediction

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

# How long the interpreter waits for a batch to fill.
BATCH_FLUSH_SECONDS = 0.004
# From this delivery on, an image is decoded in quarantine.  One redelivery is common: a crash, or scale-in.
SUSPECT_RECEIVE_COUNT = 3
_END = None


class Labeller(Protocol):
    """The methods used of `app_tier.classifier.Classifier`; `parallelism` calls of `classify` may run at a time."""

    parallelism: int

    def classify(self, images: Sequence[Pixels]) -> list[tuple[Prediction, ...]]:
        """Predictions for each image, best first."""
        ...


class Task(Protocol):
    """An image to classify.  Exactly one of the methods after `fetch` is called, in any thread; none may raise."""

    @property
    def receive_count(self) -> int:
        """How often the image has been delivered, this time included."""
        ...

    def fetch(self) -> bytes:
        """Fetch the image's file; may raise `ImageError`, `NotFoundError` and any other exception."""
        ...

    def answer(self, work: Work, predictions: tuple[Prediction, ...]) -> None:
        """Store the predictions."""
        ...

    def fail(self, work: Work, error: ImageError) -> None:
        """Store that the image cannot be classified."""
        ...

    def miss(self, work: Work) -> None:
        """There is no such image."""
        ...

    def crash(self, work: Work, error: QuarantineError) -> None:
        """The image has crashed its decoder in quarantine."""
        ...

    def postpone(self, work: Work, error: Exception | None) -> None:
        """Have the image tried again later; without an error, the reason has been logged."""
        ...

    def release(self, work: Work) -> None:
        """Have the image tried again at once, because this worker ends."""
        ...


@dataclass(slots=True, eq=False)
class Work:
    """One image on its way through the stages."""

    task: Task
    pixels: Pixels | None = None
    note: str = ""
    stage_milliseconds: dict[str, float] = field(default_factory=dict)


class Stages:
    """Fetch, decode and classify images until `stop` is set; what is submitted is bounded by the callers.

    Args:
        decode: turns a file's bytes into the pixels that `labeller` wants, and a remark where the file is incomplete;
            raises `ImageError`; picklable.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        decode: Callable[[bytes], DecodedImage],
        labeller: Labeller,
        statistics: Statistics,
        *,
        io_threads: int,
        inference_batch_size: int,
        decode_memory_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self.quarantine = Quarantine(decode, memory_bytes=decode_memory_bytes)
        self.pool = ThreadPoolExecutor(io_threads, thread_name_prefix="io")
        self._decode = decode
        self._labeller = labeller
        self._statistics = statistics
        self._batch_size = inference_batch_size
        self._clock = clock
        self._ready: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._stop = threading.Event()

    @property
    def capacity(self) -> int:
        """How many images keep all stages busy: two batches for each interpreter."""
        return 2 * self._batch_size * self._labeller.parallelism

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        """Start the threads that classify, which end after `close`; return them."""
        self._stop = stop
        threads = [
            threading.Thread(target=self._classify, name="classify", daemon=True)
            for _ in range(self._labeller.parallelism)
        ]
        for thread in threads:
            thread.start()
        return threads

    def submit(self, task: Task) -> None:
        """Pass an image through the stages."""
        self.pool.submit(self._prepare, Work(task))

    def close(self) -> None:
        """End all threads and processes; what has not begun is discarded."""
        self._ready.put(_END)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.quarantine.close()

    # --- fetch and decode ------------------------------------------------------------------------

    def _prepare(self, work: Work) -> None:
        task = work.task
        if self._stop.is_set():
            task.release(work)
            return
        try:
            started = self._clock()
            body = task.fetch()
            fetched = self._clock()
            work.stage_milliseconds["fetch"] = (fetched - started) * 1000
            try:
                decoded = self._decoder_for(task, body)(body)
                work.pixels, work.note = decoded.pixels, decoded.note
            finally:
                work.stage_milliseconds["decode"] = (self._clock() - fetched) * 1000
        except NotFoundError:
            task.miss(work)
        except ImageError as error:
            task.fail(work, error)
        except QuarantineError as error:
            task.crash(work, error)
        except Exception as error:  # one image must not affect the others of its batch
            task.postpone(work, error)
        else:
            self._ready.put(work)

    def _decoder_for(self, task: Task, body: bytes) -> Callable[[bytes], DecodedImage]:
        is_suspect = task.receive_count >= SUSPECT_RECEIVE_COUNT
        return self.quarantine.decode if is_suspect or needs_own_process(body) else self._decode

    # --- classify --------------------------------------------------------------------------------

    def _classify(self) -> None:
        while (first := self._ready.get()) is not _END:
            batch = self._fill_batch(first)
            if self._stop.is_set():
                for work in batch:
                    work.task.release(work)
            else:
                self._classify_batch(batch)
        self._ready.put(_END)  # for the other threads that classify

    def _fill_batch(self, first: Work) -> list[Work]:
        batch, deadline = [first], self._clock() + BATCH_FLUSH_SECONDS
        while len(batch) < self._batch_size:
            try:
                work = self._ready.get(timeout=max(0.0, deadline - self._clock()))
            except queue.Empty:
                break
            if work is _END:
                self._ready.put(_END)
                break
            batch.append(work)
        return batch

    def _classify_batch(self, batch: list[Work]) -> None:
        started = self._clock()
        try:
            answers = self._labeller.classify([work.pixels for work in batch if work.pixels is not None])
            answered = list(zip(batch, answers, strict=True))
        except Exception:
            log.exception("the interpreter failed on a batch of %d", len(batch))
            for work in batch:
                work.task.postpone(work, None)
            return
        seconds = self._clock() - started
        self._statistics.record_batch(len(batch), seconds)
        for work, predictions in answered:
            work.pixels = None
            work.stage_milliseconds["classify"] = seconds / len(batch) * 1000
            self.pool.submit(work.task.answer, work, predictions)
