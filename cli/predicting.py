"""What `elastic evaluate` and `elastic compare` share: their progress bar, and measuring latencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app_tier.bundle import ModelBundle
from cli.session import progress_console
from evaluation.latency import measure_latency
from evaluation.predictions import Localizer, Predictions, decoder

_LATENCY_PICTURES = 40


def predictions_progress() -> Progress:
    """A progress display with a bar for each model."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=progress_console(),
        transient=True,
    )


def advance(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    """Adds a model's bar; returns a function that advances it."""
    task = progress.add_task(name, total=total)
    return lambda count: progress.advance(task, count)


def latencies(bundles: Sequence[ModelBundle], first: Predictions, find: Localizer | None = None) -> list[float]:
    """The bundles' latencies, milliseconds, measured on photos spread evenly over those of the first's predictions."""
    chosen = first.photos[:: max(1, len(first.photos) // _LATENCY_PICTURES)][:_LATENCY_PICTURES]
    pictures = []
    for bundle in bundles:
        decode = decoder(bundle.input, find)
        pictures.append([decode(photo.path) for photo in chosen])
    return measure_latency(bundles, pictures)
