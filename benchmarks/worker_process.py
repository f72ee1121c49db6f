"""Run a real worker, ``python -m app_tier``, with the embedded cloud, and measure cold start, speed and memory."""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from unittest import mock

from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.metadata import DISABLED_VARIABLE
from aws.queue import JobQueue
from benchmarks.report import peak_rss_mib, pss_mib
from core.errors import ElasticError
from core.jobs import ClassificationJob, image_key, new_batch_id, new_job_id
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.processes import Process, spawn, stop_all
from local_cloud.resources import create_resources

_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
# A poll costs the emulator about 3 ms.
_FIRST_RESULT_POLL_SECONDS = 0.02
_DRAINED_POLL_SECONDS = 0.05
_TIMEOUT_SECONDS = 120.0
# The line that `app_tier.__main__` logs before it receives jobs.
_READY = re.compile(r"ready after ([0-9.]+) s of CPU time")
_UPLOAD_THREADS = 4


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """The measurements of one worker process.

    `cold_start_seconds` is from the process's start to its first stored result (polled every 20 ms),
    `images_per_second` from there to the empty queue.  `cold_start_cpu_seconds` is the processor's time from the
    process's start until it receives jobs.  `pss_mib` is its memory when the queue is empty, of which pages that it
    shares with other processes count in part.
    """

    cold_start_seconds: float
    cold_start_cpu_seconds: float
    images_per_second: float
    peak_rss_mib: float
    pss_mib: float


@contextmanager
def cloud_environment(endpoint_url: str) -> Iterator[Clients]:
    """Yields clients of the emulator at `endpoint_url`; until the end of the block the environment names it."""
    with mock.patch.dict(os.environ, {**LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url}):
        yield Clients()


@contextmanager
def embedded_cloud(settings: Settings) -> Iterator[Clients]:
    """As `cloud_environment`, for a new emulator with the program's buckets and queues."""
    command = [sys.executable, "-m", "local_cloud.emulator", "--port", "0"]
    emulator = spawn(command, os.environ, _LOG_DIRECTORY / "emulator.log", REPOSITORY_ROOT, stdout=PIPE)
    try:
        endpoint_url = emulator.stdout.readline().strip() if emulator.stdout else ""
        if not endpoint_url:
            raise ElasticError(f"the emulator did not start; see {_LOG_DIRECTORY / 'emulator.log'}")
        with cloud_environment(endpoint_url) as clients:
            create_resources(clients, settings)
            yield clients
    finally:
        stop_all([emulator], grace_seconds=5)


def run_worker(clients: Clients, settings: Settings, photos: Sequence[bytes], count: int) -> WorkerRun:
    """Fills the queue with `count` images, starts a worker, waits until all are answered and stops it.

    Raises:
        ElasticError: the worker ended, or did not answer in time.
    """
    batch_id = _fill(clients, settings, photos, count)
    results = ResultStore(clients["s3"], settings.output_bucket)
    queue = JobQueue(clients["sqs"], settings.queue_name)
    log_path = _LOG_DIRECTORY / "worker.log"
    environment = {**os.environ, **settings.to_environment(), DISABLED_VARIABLE: "true"}
    started = time.perf_counter()
    process = spawn([sys.executable, "-m", "app_tier"], environment, log_path, REPOSITORY_ROOT)
    try:
        for _ in _polls(_FIRST_RESULT_POLL_SECONDS, process, log_path):
            if answered := sum(1 for _ in results.list(f"{batch_id}/")):
                break
        first_at = time.perf_counter()
        for _ in _polls(_DRAINED_POLL_SECONDS, process, log_path):
            if queue.backlog().total == 0:
                break
        drained_at = time.perf_counter()
        return WorkerRun(
            cold_start_seconds=first_at - started,
            cold_start_cpu_seconds=_cpu_seconds_until_ready(log_path),
            images_per_second=(count - answered) / (drained_at - first_at),
            peak_rss_mib=peak_rss_mib(process.pid),
            pss_mib=pss_mib(process.pid),
        )
    finally:
        stop_all([process], settings.shutdown_grace_seconds + 5)


def _cpu_seconds_until_ready(log_path: Path) -> float:
    """What the latest worker in a log took until it received jobs, as it has logged itself."""
    return float(_READY.findall(log_path.read_text("utf-8"))[-1])


def _fill(clients: Clients, settings: Settings, photos: Sequence[bytes], count: int) -> str:
    images = ImageStore(clients["s3"], settings.input_bucket)
    batch_id = new_batch_id(datetime.now(UTC))

    def store(position: int, body: bytes) -> ClassificationJob:
        name = f"photo-{position}.jpg"
        key = image_key(batch_id, position, name)
        images.put(key, body, name)
        return ClassificationJob(new_job_id(), batch_id, settings.input_bucket, key, name)

    with ThreadPoolExecutor(_UPLOAD_THREADS) as pool:
        jobs = list(pool.map(store, range(count), itertools.cycle(photos)))
    JobQueue(clients["sqs"], settings.queue_name).send(jobs)
    return batch_id


def _polls(interval_seconds: float, process: Process, log_path: Path) -> Iterator[None]:
    """Yields every `interval_seconds` until the caller stops.

    Raises:
        ElasticError: the worker has ended, or the timeout has passed.
    """
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        yield
        time.sleep(interval_seconds)
    raise ElasticError(f"the worker ended or did not answer in time; see {log_path}")
