"""Benchmark of a worker, compared with the upper bound of its cores and with Keras's `predict`, image by image.

``python -m benchmarks.worker [--images DIR] [--repeat N] [--soak] [--json FILE]``, or ``elastic bench worker``.

A machine's speed varies over time.  So the contenders take turns of about a second, ratios are computed within a round,
and all figures are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from benchmarks.drain import decoder, drain
from benchmarks.keras_baseline import KerasBaseline, is_installed
from benchmarks.limits import Limits
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.soak import soak as measure_memory
from benchmarks.worker_process import WorkerRun, embedded_cloud, run_worker
from core.paths import REPOSITORY_ROOT
from core.settings import Settings

SHIPPED = REPOSITORY_ROOT / Settings().model_bundle
# Turns of each contender in a round, and images in a turn.
TURNS = 3
TURN_IMAGES = 96
CLOUD_IMAGES = 600
# Fewer, since `predict` takes longer, and has no cost that is shared between images.
KERAS_IMAGES = 6
# Not measured: the first images include the start of threads, buffers and caches.
WARM_UP_IMAGES = 16

_ROWS = {
    "bare_images_per_second": ("interpreter alone, tensors ready", "images/s"),
    "limit_images_per_second": ("decoding and interpreter alone: the limit", "images/s"),
    "worker_images_per_second": ("the worker; queue and stores in memory", "images/s"),
    "worker_cloud_images_per_second": ("the worker's process; embedded cloud on the same cores", "images/s"),
    "keras_images_per_second": ("Keras predict of ResNet-50, one image after another", "images/s"),
    "ratio_to_limit": ("worker : limit", ""),
    "cpu_ratio_to_limit": ("likewise of images for a second of the processor, which other load changes less", ""),
    "speedup_over_keras": ("worker : Keras", ""),
    "cold_start_seconds": ("from the process's start to its first stored result", "s"),
    "cold_start_cpu_seconds": ("likewise the processor's time until it receives jobs", "s"),
    "peak_rss_mib": (f"most memory of the process (RSS), over {CLOUD_IMAGES} images", "MiB"),
    "pss_mib": ("its memory after these, shared pages counted in part (PSS)", "MiB"),
}


def run(
    photos: Sequence[bytes],
    repeat: int,
    console: Console,
    *,
    folder: Path = SHIPPED,
    soak: bool = False,
    keras: bool = True,
) -> dict[str, Any]:
    """Measures `repeat` rounds; returns the report: medians under the keys of `_ROWS`, the rounds, the machine.

    Without TensorFlow, the figures of Keras are left out.

    Args:
        folder: the model bundle.
        soak: also classify 10,000 images and measure whether memory grows.
        keras: measure Keras, too.
    """
    settings = Settings(model_bundle=str(folder.resolve()))
    threads = os.cpu_count() or 1
    bundle = load_bundle(Path(settings.model_bundle))
    classifier = Classifier(bundle, threads, settings.top_k)
    limits = Limits(bundle, decoder(bundle, settings), threads)
    for warm_up in (limits.bare_seconds, limits.seconds):
        warm_up(photos, WARM_UP_IMAGES)
    drain(bundle, classifier, settings, photos, WARM_UP_IMAGES)

    # Seconds per image.
    contenders: dict[str, Callable[[], float]] = {
        "bare": lambda: limits.bare_seconds(photos, TURN_IMAGES) / TURN_IMAGES,
        "limit": lambda: limits.seconds(photos, TURN_IMAGES) / TURN_IMAGES,
        "worker": lambda: drain(bundle, classifier, settings, photos, TURN_IMAGES) / TURN_IMAGES,
    }
    rounds: list[dict[str, float]] = []
    about_machine = machine()
    with contextlib.ExitStack() as stack:
        clients = stack.enter_context(embedded_cloud(settings))
        if keras and is_installed():
            baseline = stack.enter_context(KerasBaseline(bundle, photos))
            contenders["keras"] = lambda: baseline.seconds(KERAS_IMAGES) / KERAS_IMAGES
        for number in range(repeat):
            rounds.append(_round(contenders, run_worker(clients, settings, photos, CLOUD_IMAGES)))
            console.print(f"round {number + 1}: {_line(rounds[-1])}", highlight=False)

    report: dict[str, Any] = {key: round(statistics.median(r[key] for r in rounds), 3) for key in rounds[0]}
    report |= {
        "model": bundle.full_name,
        "interpreters": threads,
        "images_per_round": TURNS * TURN_IMAGES,
        "photos": len(photos),
    }
    report |= {"rounds": rounds, "machine": about_machine}
    if soak:
        report["peak_rss_mib_after_images"] = measure_memory(settings, threads, photos)
    console.print(_table(report))
    return report


def _round(contenders: Mapping[str, Callable[[], float]], process: WorkerRun) -> dict[str, float]:
    """The figures of one round, in the order of `_ROWS`."""
    seconds: dict[str, float] = defaultdict(float)
    cpu_seconds: dict[str, float] = defaultdict(float)
    for _turn in range(TURNS):
        for name, seconds_per_image in contenders.items():
            started = time.process_time()
            seconds[name] += seconds_per_image()
            cpu_seconds[name] += time.process_time() - started
    values = {f"{name}_images_per_second": TURNS / total for name, total in seconds.items()}
    values["worker_cloud_images_per_second"] = process.images_per_second
    for name in ("cold_start_seconds", "cold_start_cpu_seconds", "peak_rss_mib", "pss_mib"):
        values[name] = getattr(process, name)
    values["ratio_to_limit"] = seconds["limit"] / seconds["worker"]
    values["cpu_ratio_to_limit"] = cpu_seconds["limit"] / cpu_seconds["worker"]
    if "keras" in seconds:
        values["speedup_over_keras"] = seconds["keras"] / seconds["worker"]
    return {key: round(values[key], 3) for key in _ROWS if key in values}


def _line(values: dict[str, float]) -> str:
    return ", ".join(f"{key.removesuffix('_images_per_second')} {value:.4g}" for key, value in values.items())


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"One worker with {report['model']} on {report['machine']['cores']} cores", title_justify="left"
    )
    table.add_column("median of the rounds")
    table.add_column("", justify="right")
    table.add_column("")
    for key, (text, unit) in _ROWS.items():
        if key in report:
            table.add_row(text, f"{report[key]:.2f}" if report[key] < 10 else f"{report[key]:.0f}", unit)
    for images, mib in report.get("peak_rss_mib_after_images", {}).items():
        table.add_row(f"most memory after {int(images):,} images; queue and stores in memory", f"{mib:.0f}", "MiB")
    return table


@click.command("worker")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of photos.  [default: the sample photos]",
)
@click.option(
    "--bundle",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=SHIPPED,
    help="Model bundle.  [default: the shipped one]",
)
@json_option
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Number of rounds.")
@click.option("--soak", is_flag=True, help="Also measure memory over 10,000 images; takes minutes.")
@click.option("--keras/--no-keras", default=True, show_default=True, help="Also measure Keras, which takes longest.")
def command(images: Path | None, folder: Path, json_path: Path | None, repeat: int, soak: bool, keras: bool) -> None:
    """Measure one worker: speed, cold start and memory."""
    load_bundle(folder)
    report = run(load_photos(images), repeat, Console(), folder=folder, soak=soak, keras=keras)
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
