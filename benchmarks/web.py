"""Benchmark of the web tier: uploads compared with a bare Flask handler, event streams to viewers, memory.

``python -m benchmarks.web [--images DIR] [--quick] [--rounds N] [--json FILE]``, or ``elastic bench web``.

Embedded cloud, servers and clients share the machine's cores; no worker runs.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.web_memory import watch_batch
from benchmarks.web_uploads import Case, compare, headline, single_ratio
from benchmarks.web_viewers import fan_out
from benchmarks.worker_process import cloud_environment
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.stack import LocalStack

# Longer side of the photos, pixels: small, since with larger photos the handling's share of the time decreases.
_LONG_SIDE = 224
_JPEG_QUALITY = 90
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
VIEWERS = 200


@dataclass(frozen=True, slots=True)
class Extent:
    """The numbers of requests, rounds, results and images of a run."""

    cases: Sequence[Case]
    rounds: int
    viewed_results: int
    batch_images: int


# Many short turns, so that other load on the machine affects both contenders.
FULL = Extent(
    cases=(Case(1, 10), Case(10, 30), Case(100, 100), Case(1, 40, 1), Case(10, 100, 1), Case(100, 200, 1)),
    rounds=5,
    viewed_results=300,
    batch_images=10_000,
)
QUICK = Extent(
    cases=(Case(1, 5), Case(10, 20), Case(100, 100), Case(1, 20, 1), Case(10, 50, 1), Case(100, 100, 1)),
    rounds=1,
    viewed_results=60,
    batch_images=500,
)


def run(bodies: Sequence[bytes], extent: Extent, console: Console) -> dict[str, Any]:
    """Runs the benchmark; returns the report.

    ``uploads_per_second``, ``bare_uploads_per_second`` (images), ``ratio`` and ``p99_ms`` (of a request of 20 images)
    are those of the number of clients with the smallest ``ratio``; ``single_ratio`` is the smallest with one image a
    request; ``runs`` has all.  ``peak_rss_mib`` is the peak memory of the web tier's worker processes together while
    the large batch goes through it.

    Raises:
        ElasticError: Locust is missing, or an image was not stored, not answered or not reported to a viewer.
    """
    if importlib.util.find_spec("locust") is None:
        raise ElasticError("this benchmark needs Locust; `make setup` installs it")
    about_machine = machine()
    with tempfile.TemporaryDirectory() as folder:
        photos = [Path(folder) / f"photo-{number:03d}.jpg" for number in range(len(bodies))]
        for path, body in zip(photos, bodies, strict=True):
            path.write_bytes(_small(body))
        with _cloud() as stack, cloud_environment(stack.endpoint_url) as clients:
            console.print("Uploads …")
            runs = compare(stack, clients, extent.cases, extent.rounds, photos, _LOG_DIRECTORY, console)
        # Each with a web tier of its own, so that its memory is not affected by other measurements.
        with _cloud() as stack, cloud_environment(stack.endpoint_url) as clients:
            console.print("Viewers …")
            viewers = fan_out(stack, clients, VIEWERS, _repeated(photos, extent.viewed_results))
        with _cloud() as stack, cloud_environment(stack.endpoint_url) as clients:
            console.print("Memory …")
            memory = watch_batch(stack, clients, _repeated(photos, extent.batch_images))
    worst = headline(runs)
    report = {key: worst[key] for key in ("uploads_per_second", "bare_uploads_per_second", "ratio", "p99_ms")}
    report |= {"clients": worst["clients"], "single_ratio": single_ratio(runs)}
    report |= {"peak_rss_mib": memory["peak_rss_mib"], "rounds": extent.rounds}
    report |= {"runs": runs, "viewers": viewers, "memory": memory, "machine": about_machine}
    for table in (_uploads_table(runs), _others_table(viewers, memory)):
        console.print(table)
    return report


def _cloud() -> LocalStack:
    return LocalStack(controller=False, log_directory=_LOG_DIRECTORY)


def _small(body: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(body)) as image:
        ImageOps.contain(image.convert("RGB"), (_LONG_SIDE, _LONG_SIDE)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _repeated(photos: Sequence[Path], count: int) -> list[Path]:
    return list(itertools.islice(itertools.cycle(photos), count))


def _uploads_table(runs: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Uploads", title_justify="left")
    for name in (
        "clients",
        "images a request",
        "images/s",
        "bare",
        "ratio",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "bare p99 ms",
    ):
        table.add_column(name, justify="right")
    for found in runs:
        latencies = [found[name] for name in ("p50_ms", "p95_ms", "p99_ms", "bare_p99_ms")]
        table.add_row(
            str(found["clients"]),
            str(found["images_per_request"]),
            f"{found['uploads_per_second']:.0f}",
            f"{found['bare_uploads_per_second']:.0f}",
            f"{found['ratio']:.2f}",
            *(f"{milliseconds:.0f}" for milliseconds in latencies),
        )
    return table


def _others_table(viewers: dict[str, Any], memory: dict[str, Any]) -> Table:
    table = Table(title="Viewers and memory", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    title = f"event latency, {viewers['viewers']} viewers, {viewers['results']} results; p50, p95, p99"
    table.add_row(title, ", ".join(f"{viewers[f'p{percent}_ms']:.0f}" for percent in (50, 95, 99)), "ms")
    table.add_row("peak memory of the web tier's processes with viewers", f"{viewers['peak_rss_mib']:.0f}", "MiB")
    table.add_row("memory before the first request", f"{memory['idle_rss_mib']:.0f}", "MiB")
    table.add_row(f"memory after uploading {memory['images']:,} images", f"{memory['uploaded_rss_mib']:.0f}", "MiB")
    table.add_row("peak memory, results read", f"{memory['peak_rss_mib']:.0f}", "MiB")
    table.add_row("peak with the arbiter, shared pages counted once", f"{memory['peak_pss_mib']:.0f}", "MiB")
    return table


@click.command("web")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of photos; copies of 224 pixels are sent.  [default: the sample photos]",
)
@json_option
@click.option("--quick", is_flag=True, help="Fewer requests, results and images.")
@click.option("--rounds", type=click.IntRange(min=1), help="Turns of each contender.  [default: 5; 1 with --quick]")
def command(images: Path | None, json_path: Path | None, quick: bool, rounds: int | None) -> None:
    """Measure the web tier: uploads, viewers and memory.

    Uploads are compared with a bare Flask handler that stores the same bodies.
    """
    extent = QUICK if quick else FULL
    report = run(load_photos(images), replace(extent, rounds=rounds or extent.rounds), Console())
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
