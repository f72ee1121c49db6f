"""Benchmark of the whole local stack, by the number of workers and by the backlog.

``python -m benchmarks.scale [--workers N]… [--images N]… [--json FILE]``, or ``elastic bench scale``.

Photos are uploaded to the web tier, classified by worker processes, and their results read from the web tier.
Embedded cloud, web tier and workers share the machine's cores, so more workers than cores do not help.

Before and after each run the limit is measured: what the cores do when they only decode and classify.  The ratio to it
is what queue, stores, HTTP and processes leave of the machine, and varies less than the speed itself.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from api_client.client import ApiClient
from app_tier.bundle import load_bundle
from aws.buckets import ResultStore
from benchmarks.drain import decoder
from benchmarks.limits import Limits
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.worker_process import cloud_environment
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.stack import LocalStack

WORKERS = (1, 2, 4)
IMAGES = (20, 100, 1_000)
QUICK_WORKERS = (1, 2)
QUICK_IMAGES = (20, 100)
# In a measurement of the limit.
LIMIT_IMAGES = 96
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
_WARM_UP_ROUNDS = 20
_NO_ANSWER_TIMEOUT_SECONDS = 60.0


def run(worker_counts: Sequence[int], image_counts: Sequence[int], console: Console) -> dict[str, Any]:
    """Measures every combination; returns the report.

    Its ``runs`` have the keys ``workers``, ``images``, ``seconds`` (from the first byte uploaded to the last result
    read), ``images_per_second``, ``seconds_per_image``, ``limit_images_per_second`` and ``ratio_to_limit``.
    ``cost_growth`` is, for each number of workers, the time for an image at the largest backlog divided by that at the
    second largest: 1.0 if the backlog's size does not matter; empty for a single backlog.
    """
    limit = _limit_of_the_cores()
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
                    limits = [limit()]
                    seconds = _classify(api, photos[:images])[0]
                    limits.append(limit())
                    runs.append(_row(workers, images, seconds, statistics.mean(limits)))
                    console.print(_line(runs[-1]), highlight=False)
    growth = _growth(runs)
    console.print(_table(runs, growth))
    return {"runs": runs, "cost_growth": growth, "machine": about_machine}


def _limit_of_the_cores() -> Callable[[], float]:
    """A function that measures how many images a second all cores decode and classify when they do nothing else."""
    settings = Settings()
    bundle = load_bundle(REPOSITORY_ROOT / settings.model_bundle)
    limits = Limits(bundle, decoder(bundle, settings), os.cpu_count() or 1)
    photos = load_photos(None)
    limits.seconds(photos, LIMIT_IMAGES)
    return lambda: LIMIT_IMAGES / limits.seconds(photos, LIMIT_IMAGES)


def _row(workers: int, images: int, seconds: float, limit_images_per_second: float) -> dict[str, Any]:
    return {
        "workers": workers,
        "images": images,
        "seconds": round(seconds, 2),
        "images_per_second": round(images / seconds, 1),
        "seconds_per_image": round(seconds / images, 4),
        "limit_images_per_second": round(limit_images_per_second, 1),
        "ratio_to_limit": round(images / seconds / limit_images_per_second, 3),
    }


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['workers']} workers, {row['images']:,} images: {row['seconds']:.1f} s, {row['images_per_second']:.1f} "
        f"images/s, {row['ratio_to_limit']:.2f} of the limit ({row['limit_images_per_second']:.0f} images/s)"
    )


def _growth(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    cost = {(row["workers"], row["images"]): row["seconds_per_image"] for row in runs}
    counts = sorted({images for _, images in cost})
    if len(counts) < 2:
        return {}
    before, most = counts[-2:]
    return {str(workers): round(cost[workers, most] / cost[workers, before], 2) for workers in {w for w, _ in cost}}


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


def _table(runs: Sequence[dict[str, Any]], growth: dict[str, float]) -> Table:
    counts = sorted({row["images"] for row in runs})
    table = Table(title="The local stack, images/s (share of the limit)", title_justify="left")
    table.add_column("workers", justify="right")
    for images in counts:
        table.add_column(f"{images:,} images", justify="right")
    if growth:
        table.add_column(f"cost of an image, {counts[-1]:,} : {counts[-2]:,}", justify="right")
    for workers in sorted({row["workers"] for row in runs}):
        of_these = {row["images"]: row for row in runs if row["workers"] == workers}
        speeds = [f"{of_these[n]['images_per_second']:.1f} ({of_these[n]['ratio_to_limit']:.2f})" for n in counts]
        table.add_row(str(workers), *speeds, *([f"{growth[str(workers)]:.2f}"] if growth else []))
    return table


@click.command("scale")
@json_option
@click.option("--quick", is_flag=True, help="Fewer workers and images.")
@click.option(
    "--workers", "worker_counts", type=click.IntRange(1), multiple=True, help="How many workers; may be repeated."
)
@click.option(
    "--images", "image_counts", type=click.IntRange(1), multiple=True, help="How many images at once; may be repeated."
)
def command(json_path: Path | None, quick: bool, worker_counts: tuple[int, ...], image_counts: tuple[int, ...]) -> None:
    """Measure the local stack's speed by workers and backlog.

    Also measures, in the same run, what share of the cores' limit that is.
    """
    report = run(
        sorted(set(worker_counts)) or (QUICK_WORKERS if quick else WORKERS),
        sorted(set(image_counts)) or (QUICK_IMAGES if quick else IMAGES),
        Console(),
    )
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
