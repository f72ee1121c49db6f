"""Measure the web tier's memory while a large batch is uploaded, answered, and its results are read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from api_client.client import ApiClient
from aws.buckets import ResultStore
from aws.clients import Clients
from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue
from core.errors import ElasticError
from core.jobs import ClassificationJob, ClassificationResult, Prediction
from local_cloud.stack import LocalStack

_SAMPLE_SECONDS = 0.2
_MIB = 1024 * 1024
_STORING_THREADS = 4
_NO_ANSWER_TIMEOUT_SECONDS = 120.0


class MemoryWatch:
    """Samples the resident memory of gunicorn's worker processes and of its arbiter; a context manager.

    Attributes:
        peak_rss_mib: the peak of all worker processes together; shared pages count for each.
        peak_process_mib: the peak of the largest worker process.
        peak_pss_mib: the peak of the workers and the arbiter together, each shared page counted once (proportional
            set size, see proc(5)).
    """

    def __init__(self, arbiter_pid: int) -> None:
        self.peak_rss_mib = 0.0
        self.peak_process_mib = 0.0
        self.peak_pss_mib = 0.0
        self._arbiter = psutil.Process(arbiter_pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        # A process may end between the two calls.
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = [worker.memory_full_info() for worker in self._arbiter.children()]
            arbiter = self._arbiter.memory_full_info()
            self.peak_rss_mib = max(self.peak_rss_mib, sum(worker.rss for worker in workers) / _MIB)
            self.peak_process_mib = max(self.peak_process_mib, *(worker.rss / _MIB for worker in workers), 0.0)
            self.peak_pss_mib = max(self.peak_pss_mib, sum(each.pss for each in (arbiter, *workers)) / _MIB)


def answer(job: ClassificationJob) -> ClassificationResult:
    """A result of realistic size for a job."""
    predictions = tuple(Prediction(f"label {rank}", 0.5 / 2**rank) for rank in range(5))
    return ClassificationResult(
        job.key, job.name, predictions, job_id=job.job_id, model="benchmark@1", worker_id="benchmark"
    )


def watch_batch(stack: LocalStack, clients: Clients, images: Sequence[Path]) -> dict[str, Any]:
    """Uploads `images` as one batch and reads its results, as `elastic classify` does; returns the figures.

    Instead of the app tier, a thread stores results without classifying.

    Raises:
        ElasticError: an image was not stored, or not answered.
    """
    api = ApiClient(stack.web_url)
    stop = threading.Event()
    with MemoryWatch(stack.process("web-tier").pid) as memory, ThreadPoolExecutor(1) as pool:
        started = time.perf_counter()
        idle_mib = memory.peak_rss_mib
        answering = pool.submit(answer_all, stack, clients, stop)
        try:
            batch_id = api.create_batch()
            problems = api.upload(batch_id, images, lambda count: None)
            if problems:
                raise ElasticError(f"not stored: {problems[0]}")
            uploaded_mib = memory.peak_rss_mib
            for _ in api.follow(batch_id, len(images), _NO_ANSWER_TIMEOUT_SECONDS):
                pass
        finally:
            stop.set()
        answering.result()
        seconds = time.perf_counter() - started
    return {
        "images": len(images),
        "seconds": round(seconds, 1),
        "idle_rss_mib": round(idle_mib, 1),
        "uploaded_rss_mib": round(uploaded_mib, 1),
        "peak_rss_mib": round(memory.peak_rss_mib, 1),
        "peak_pss_mib": round(memory.peak_pss_mib, 1),
    }


def answer_all(stack: LocalStack, clients: Clients, stop: threading.Event) -> None:
    """Stores results for the jobs of `stack` in the place of workers, until `stop` is set."""
    queue = JobQueue(clients["sqs"], stack.settings.queue_name)
    results = ResultStore(clients["s3"], stack.settings.output_bucket)
    with ThreadPoolExecutor(_STORING_THREADS) as pool:
        while not stop.is_set():
            received = queue.receive(MAX_MESSAGES_PER_REQUEST, wait_seconds=1)
            list(pool.map(results.put, [answer(delivery.job) for delivery in received if delivery.job is not None]))
            queue.delete([delivery.receipt_handle for delivery in received])
