"""Draw a run's charts: learning curves, and the number of images in each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.datasets.samples import PARTS

# From the palette of Okabe and Ito, which is distinguishable with colour blindness.
_COLOURS = {"train": "#0b6bcb", "validation": "#d55e00", "test": "#7b7b7b"}
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
}
# With more classes, their names would overlap and are left out.
_NAMED_CLASSES = 60


def draw_curves(history: Sequence[Mapping[str, float]], best_epoch: int, path: Path) -> None:
    """Draws loss and accuracy of training and validation by epoch; a line marks the best epoch."""
    epochs = [entry["epoch"] for entry in history]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for part, key in (("train", measure), ("validation", f"val_{measure}")):
                values = [entry[key] for entry in history]
                axes.plot(epochs, values, color=_COLOURS[part], marker=".", label=part)
            axes.axvline(best_epoch, color="#b9c0c8", linestyle="--", linewidth=1, label=f"best, epoch {best_epoch}")
            axes.set(title=measure, xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False)
        figure.savefig(path, dpi=110)


def draw_classes(names: Sequence[str], labels: Sequence[int], parts: Sequence[str], path: Path) -> None:
    """Draws the number of images of each class as a bar stacked by part, the largest class first."""
    counts = {
        part: np.bincount([label for label, p in zip(labels, parts, strict=True) if p == part], minlength=len(names))
        for part in PARTS
    }
    order = np.argsort(-sum(counts.values()), kind="stable")
    named = len(names) <= _NAMED_CLASSES
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(min(14.0, max(6.0, 0.28 * len(names))), 4), layout="constrained")
        axes = figure.subplots()
        below = np.zeros(len(names), np.int_)
        for part, count in counts.items():
            if count.any():
                axes.bar(range(len(names)), count[order], bottom=below, color=_COLOURS[part], width=0.8, label=part)
                below = below + count[order]
        axes.set(ylabel="images", title=f"{len(names)} classes", xlabel="" if named else "classes, largest first")
        if named:
            axes.set_xticks(range(len(names)), [names[index] for index in order], rotation=60, ha="right")
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        # Beside the bars: over them it would be dark text on blue.
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(path, dpi=110)
