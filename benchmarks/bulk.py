"""Benchmark of bulk runs: a worker's speed in one, compared with its limit, and the requests to AWS for 1,000 photos.

``python -m benchmarks.bulk [--images DIR] [--repeat N] [--json FILE]``, or ``elastic bench bulk``.

Three contenders take turns, so that ratios are computed within a round: decoding and the interpreter alone (the limit),
the worker with queue and buckets in memory, and a whole run on the embedded cloud, which shares the machine's cores.
In the run, planner and worker are threads of this process, whose requests are counted as they leave botocore.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app_tier.bulk_lane import BulkLane
from app_tier.bundle import ModelBundle, load_bundle
from app_tier.classifier import Classifier
from app_tier.worker import Worker, WorkerOptions
from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_queue import BulkQueue
from aws.bulk_runs import BulkRuns
from aws.clients import Clients
from aws.in_memory import (
    InMemoryBulkQueue,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryPhotoSource,
    InMemoryResultStore,
    InMemoryStateStore,
)
from aws.state import StateStore
from benchmarks.drain import decoder
from benchmarks.limits import Limits
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.worker import SHIPPED
from benchmarks.worker_process import embedded_cloud
from controller.bulk.planner import BulkPlanner
from core.bulk_run import DEFAULT_IMAGES_PER_JOB, BulkJob, BulkRun, Status
from core.errors import ElasticError
from core.jobs import new_batch_id
from core.periodic_task import PeriodicTask
from core.prices import load_prices
from core.settings import Settings
from local_cloud.resources import create_bucket

IMAGES = 2 * DEFAULT_IMAGES_PER_JOB
CLOUD_IMAGES = 1000
SOURCE, OUTPUT = "bench-photos", "bench-labels"
_POLL_SECONDS = 0.02
_READS = frozenset(("GetObject", "HeadObject"))
_FREE = frozenset(("DeleteObject", "DeleteObjects"))

_ROWS = {
    "limit_images_per_second": ("decoding and interpreter alone: the limit", "images/s"),
    "bulk_images_per_second": ("the worker in a bulk run; queue and buckets in memory", "images/s"),
    "cloud_images_per_second": ("a whole run, from its start to its last part; embedded cloud", "images/s"),
    "ratio_to_limit": ("worker : limit", ""),
    "cpu_ratio_to_limit": ("likewise of images for a second of the processor, which other load changes less", ""),
    "requests_per_1000": ("requests to S3 and SQS for 1,000 photos", ""),
    "usd_per_million": ("what those cost on AWS for a million photos", "US dollars"),
}


class _Bench:
    """A classifier with the means to run a worker around it."""

    def __init__(self, bundle: ModelBundle, settings: Settings, threads: int, photos: Sequence[bytes]) -> None:
        self.bundle = bundle
        self.photos = photos
        self._settings = settings
        self._threads = threads
        self._classifier = Classifier(bundle, threads, settings.top_k)
        self.limits = Limits(bundle, decoder(bundle, settings), threads)

    def worker(self, lane: BulkLane) -> Worker:
        """A worker that has no other jobs."""
        options = WorkerOptions(
            worker_id="benchmark",
            model=self.bundle.full_name,
            visibility_timeout_seconds=self._settings.visibility_timeout_seconds,
            receive_wait_seconds=self._settings.receive_wait_seconds,
            io_threads=4 * self._threads,
            inference_batch_size=self._settings.inference_batch_size,
            max_jobs_in_hand=self._settings.max_jobs_in_hand,
            shutdown_grace_seconds=self._settings.shutdown_grace_seconds,
        )
        stores: tuple[Any, Any, Any] = (
            InMemoryJobQueue(time.monotonic, keep_calls=False), InMemoryImageStore(), InMemoryResultStore(),
        )  # fmt: skip
        decode = decoder(self.bundle, self._settings)
        return Worker(*stores, decode, self._classifier, options, bulk=lane)

    def in_memory_seconds(self, count: int) -> float:
        """The time of one worker for `count` photos, in jobs of the usual size."""
        queue, source, labels = InMemoryBulkQueue(time.monotonic), InMemoryPhotoSource(), InMemoryStateStore()
        source.photos = {f"{number:06}.jpg": self.photos[number % len(self.photos)] for number in range(count)}
        keys, run = tuple(sorted(source.photos)), BulkRun("benchmark", SOURCE, "", OUTPUT, "")
        size = DEFAULT_IMAGES_PER_JOB
        queue.send(BulkJob.of(run, part, keys[part * size : (part + 1) * size]) for part in range(-(-count // size)))
        stores: tuple[Any, Any, Any] = (queue, source, labels)
        lane = BulkLane(stores[0], lambda *_: stores[1], lambda _: stores[2], "benchmark", 30, wait_seconds=1)
        started = time.perf_counter()
        with _running(self.worker(lane)):
            while queue.messages:
                time.sleep(0.005)
            return time.perf_counter() - started

    def cloud_run(self, clients: Clients, settings: Settings, count: int) -> tuple[float, Counter[tuple[str, str]]]:
        """The time of a run over `count` photos until all have a part, and its requests by service and operation.

        Raises:
            ElasticError: the run did not end as it should.
        """
        s3, counts, lock = clients["s3"], Counter[tuple[str, str]](), threading.Lock()
        for bucket in (SOURCE, OUTPUT):
            create_bucket(s3, bucket)
        run_id = new_batch_id(datetime.now(UTC))
        for number in range(count):
            key = f"{run_id}/{number:06}.jpg"
            s3.put_object(Bucket=SOURCE, Key=key, Body=self.photos[number % len(self.photos)])

        def note(model: Any, **_: Any) -> None:
            with lock:
                counts[model.service_model.service_name, model.name] += 1

        own = Clients(max_connections=32)
        for service in ("s3", "sqs"):
            own[service].meta.events.register(f"before-call.{service}", note)
        s3, queue = own["s3"], BulkQueue(own["sqs"], settings.bulk_queue_name)
        runs = BulkRuns(StateStore(s3, settings.state_bucket), lambda bucket: BulkOutput(s3, bucket))
        planner = BulkPlanner(runs, queue, lambda run: PhotoSource(s3, run.source_bucket), 60.0)
        lane = BulkLane(
            queue, lambda bucket, _: PhotoSource(s3, bucket), lambda bucket: BulkOutput(s3, bucket), "benchmark", 30
        )
        run = BulkRun(run_id, SOURCE, f"{run_id}/", OUTPUT, f"{run_id}/")
        task = PeriodicTask("bulk runs", settings.bulk_interval_seconds, planner.round, at_once=True)
        stop, worker = threading.Event(), self.worker(lane)
        started = time.perf_counter()
        runs.start(run)
        with _running(worker):
            thread = task.start(stop)
            while worker.vitals().answered < count:
                time.sleep(_POLL_SECONDS)
            seconds = time.perf_counter() - started
            # With other clients, whose requests are not counted.
            other = BulkRuns(StateStore(clients["s3"], settings.state_bucket), lambda bucket: runs.output(run))
            while (found := other.get(run_id)).is_active:
                time.sleep(_POLL_SECONDS)
            stop.set()
            thread.join()
        if (found.status, found.done_images, found.failed_images) != (Status.COMPLETE, count, 0):
            raise ElasticError(f"the run did not label every photo: {found}")
        return seconds, counts


class _running:
    """Runs a worker in a thread during a block."""

    def __init__(self, worker: Worker) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=worker.run, args=(self._stop,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def run(photos: Sequence[bytes], repeat: int, console: Console) -> dict[str, Any]:
    """Measures `repeat` rounds; returns the report: medians under the keys of `_ROWS`, the rounds, the machine."""
    settings, threads = Settings(model_bundle=str(SHIPPED.resolve())), os.cpu_count() or 1
    about_machine = machine()
    bench = _Bench(load_bundle(Path(settings.model_bundle)), settings, threads, photos)
    bench.limits.seconds(photos, 32)
    bench.in_memory_seconds(64)
    rounds: list[dict[str, float]] = []
    requests: Counter[tuple[str, str]] = Counter()
    with embedded_cloud(settings) as clients:
        for number in range(repeat):
            marks = [time.process_time()]
            limit = bench.limits.seconds(photos, IMAGES)
            marks.append(time.process_time())
            bulk = bench.in_memory_seconds(IMAGES)
            marks.append(time.process_time())
            seconds, requests = bench.cloud_run(clients, settings, CLOUD_IMAGES)
            values = {
                "limit_images_per_second": IMAGES / limit,
                "bulk_images_per_second": IMAGES / bulk,
                "cloud_images_per_second": CLOUD_IMAGES / seconds,
                "ratio_to_limit": limit / bulk,
                "cpu_ratio_to_limit": (marks[1] - marks[0]) / (marks[2] - marks[1]),
                "requests_per_1000": requests.total() * 1000 / CLOUD_IMAGES,
                "usd_per_million": usd(requests) * 1e6 / CLOUD_IMAGES,
            }
            rounds.append({key: round(value, 3) for key, value in values.items()})
            console.print(f"round {number + 1}: {rounds[-1]}", highlight=False)
    report: dict[str, Any] = {key: round(statistics.median(r[key] for r in rounds), 3) for key in _ROWS}
    counted = {f"{service} {name}": count * 1000 / CLOUD_IMAGES for (service, name), count in sorted(requests.items())}
    report |= {"model": bench.bundle.full_name, "interpreters": threads, "photos": len(photos)}
    report |= {"requests_of_1000": counted, "rounds": rounds, "machine": about_machine}
    console.print(_table(report))
    return report


def usd(requests: Counter[tuple[str, str]]) -> float:
    """What requests cost on AWS, in US dollars."""
    prices, total = load_prices().of, 0.0
    for (service, name), count in requests.items():
        if service == "sqs":
            total += count * prices["sqs_request"]
        elif name not in _FREE:
            total += count * prices["s3_read" if name in _READS else "s3_write"]
    return total


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"Bulk runs with {report['model']} on {report['machine']['cores']} cores", title_justify="left")
    for heading in ("median of the rounds", "", ""):
        table.add_column(heading)
    for key, (text, unit) in _ROWS.items():
        table.add_row(text, f"{report[key]:.2f}" if report[key] < 10 else f"{report[key]:.0f}", unit)
    for name, count in report["requests_of_1000"].items():
        table.add_row(f"requests for 1,000 photos: {name}", f"{count:.1f}", "")
    return table


@click.command("bulk")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of photos.  [default: the sample photos]",
)
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Number of rounds.")
@json_option
def command(images: Path | None, repeat: int, json_path: Path | None) -> None:
    """Measure bulk runs: speed against the limit, and requests."""
    report = run(load_photos(images), repeat, Console())
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
