"""Benchmark of the whole local stack, by the number of workers and by the backlog.

``python -m benchmarks.scale [--quick] [--json FILE]``, or ``elastic bench scale``.

Photos are uploaded to the web tier, classified by worker processes, and their results read from the web tier.
Embedded cloud, web tier and workers share the machine's cores, so more workers than cores do not help.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from api_client.client import ApiClient
from aws.buckets import ResultStore
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.worker_process import cloud_environment
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.stack import LocalStack

WORKERS = (1, 2, 4)
IMAGES = (20, 100, 1_000)
QUICK_WORKERS = (1, 2)
QUICK_IMAGES = (20, 100)
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
_WARM_UP_ROUNDS = 20
_NO_ANSWER_TIMEOUT_SECONDS = 60.0


def run(worker_counts: Sequence[int], image_counts: Sequence[int], console: Console) -> dict[str, Any]:
    """Measures every combination; returns the report.

    Its ``runs`` have the keys ``workers``, ``images``, ``seconds`` (from the first byte uploaded to the last result
    read), ``images_per_second`` and ``seconds_per_image``.  ``cost_growth`` is, for each number of workers, the time
    for an image at the largest backlog divided by that at the second largest: 1.0 if the backlog's size does not
    matter.
    """
    runs: list[dict[str, Any]] = []
    about_machine = machine()
    with tempfile.TemporaryDirectory() as folder:
        photos = _files(Path(folder), max(image_counts))
        for workers in worker_counts:
            settings = {"min_size": workers, "max_size": workers}
            with LocalStack(settings, log_directory=_LOG_DIRECTORY) as stack:
                api = ApiClient(stack.web_url)
                _warm_up(stack, api, photos, workers)
                for images in image_counts:
                    seconds = _classify(api, photos[:images])[0]
                    runs.append(
                        {
                            "workers": workers,
                            "images": images,
                            "seconds": round(seconds, 2),
                            "images_per_second": round(images / seconds, 1),
                            "seconds_per_image": round(seconds / images, 4),
                        }
                    )
                    console.print(
                        f"{workers} workers, {images:,} images: {seconds:.1f} s, {images / seconds:.1f} images/s",
                        highlight=False,
                    )
    cost = {(r["workers"], r["images"]): r["seconds_per_image"] for r in runs}
    before, most = sorted(image_counts)[-2:]
    growth = {str(workers): round(cost[workers, most] / cost[workers, before], 2) for workers in worker_counts}
    console.print(_table(runs, growth, worker_counts, image_counts))
    return {"runs": runs, "cost_growth": growth, "machine": about_machine}


def _files(folder: Path, count: int) -> list[Path]:
    """Writes the photos to `folder`; returns `count` paths, repeated as often as needed."""
    originals = []
    for number, body in enumerate(load_photos(None)):
        originals.append(folder / f"photo-{number:02d}.jpg")
        originals[-1].write_bytes(body)
    return list(itertools.islice(itertools.cycle(originals), count))


def _warm_up(stack: LocalStack, api: ApiClient, photos: Sequence[Path], workers: int) -> None:
    """Classifies photos until every worker has answered one.

    Raises:
        ElasticError: some worker answered none.
    """
    seen: set[str] = set()
    with cloud_environment(stack.endpoint_url) as clients:
        results = ResultStore(clients["s3"], stack.settings.output_bucket)
        for _ in range(_WARM_UP_ROUNDS):
            _seconds, keys = _classify(api, photos[: 10 * workers])
            seen |= {results.get(key).worker_id for key in keys}
            if len(seen) >= workers:
                return
    raise ElasticError(f"only {len(seen)} of {workers} workers answered")


def _classify(api: ApiClient, photos: Sequence[Path]) -> tuple[float, list[str]]:
    """Seconds from the first byte uploaded to the last result, and the keys of the results."""
    started = time.perf_counter()
    batch_id = api.create_batch()
    problems = api.upload(batch_id, photos, lambda count: None)
    if problems:
        raise ElasticError(f"not stored: {problems[0]}")
    keys = [str(result["key"]) for result in api.follow(batch_id, len(photos), _NO_ANSWER_TIMEOUT_SECONDS)]
    return time.perf_counter() - started, keys


def _table(
    runs: Sequence[dict[str, Any]],
    growth: dict[str, float],
    worker_counts: Sequence[int],
    image_counts: Sequence[int],
) -> Table:
    table = Table(title="The local stack, images/s", title_justify="left")
    table.add_column("workers", justify="right")
    for images in image_counts:
        table.add_column(f"{images:,} images", justify="right")
    before, most = sorted(image_counts)[-2:]
    table.add_column(f"cost of an image, {most:,} : {before:,}", justify="right")
    for workers in worker_counts:
        speeds = [f"{r['images_per_second']:.1f}" for r in runs if r["workers"] == workers]
        table.add_row(str(workers), *speeds, f"{growth[str(workers)]:.2f}")
    return table


@click.command("scale")
@json_option
@click.option("--quick", is_flag=True, help="Fewer workers and images.")
def command(json_path: Path | None, quick: bool) -> None:
    """Measure the local stack's speed by workers and backlog."""
    workers, images = (QUICK_WORKERS, QUICK_IMAGES) if quick else (WORKERS, IMAGES)
    report = run(workers, images, Console())
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
