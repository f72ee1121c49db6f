"""Measure whether a worker's memory grows: its peak after 1,000 and 10,000 images, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from benchmarks.drain import drain
from benchmarks.report import peak_rss_mib
from core.settings import Settings

CHECKPOINTS = (1_000, 10_000)


def soak(settings: Settings, threads: int, photos: Sequence[bytes]) -> dict[str, float]:
    """Peak resident memory, MiB, after each of `CHECKPOINTS` images.

    Args:
        threads: interpreters with one thread each.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, settings, threads, photos).result()


def _run(settings: Settings, threads: int, photos: Sequence[bytes]) -> dict[str, float]:
    bundle = load_bundle(Path(settings.model_bundle))
    peaks: dict[str, float] = {}

    def note_peak(answered: int) -> None:
        for checkpoint in CHECKPOINTS:
            if answered >= checkpoint and str(checkpoint) not in peaks:
                peaks[str(checkpoint)] = round(peak_rss_mib(), 1)

    drain(bundle, Classifier(bundle, threads, settings.top_k), settings, photos, max(CHECKPOINTS), note_peak)
    return peaks
