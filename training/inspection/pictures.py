"""Pictures of a data set: a contact sheet of samples for each class, and what each augmentation does to an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

SAMPLES_PER_CLASS = 8
# A page or picture with all samples of a thousand classes would be too large to be opened.
MAX_SAMPLES = 1000
# Rows of one picture: Agg draws up to 65,535 pixels.
_MAX_ROWS = 300
_GAP = 4
_DPI = 100
_LABEL_INCHES = 2.4


def choose_samples(labels: Sequence[int], seed: int = 0) -> dict[int, list[int]]:
    """Chooses up to `SAMPLES_PER_CLASS` images of each class at random, fewer with very many classes.

    Args:
        labels: the class of each image.

    Returns:
        The chosen images' indices by class, both ascending.
    """
    array = np.asarray(labels)
    classes = np.unique(array).tolist()
    count = max(1, min(SAMPLES_PER_CLASS, MAX_SAMPLES // max(1, len(classes))))
    random = np.random.default_rng(seed)
    members = {label: np.flatnonzero(array == label) for label in classes[:MAX_SAMPLES]}
    return {
        label: sorted(random.choice(found, min(count, len(found)), replace=False).tolist())
        for label, found in members.items()
    }


def draw_rows(rows: Mapping[str, Sequence[Pixels]], title: str, side: int, path: Path) -> None:
    """Draws rows of pictures, each with its name, as one image file; of very many rows only the first.

    Args:
        rows: the pictures of each row, uint8 RGB squares; at least one row has one.
        side: height and width of each picture as drawn, pixels.
    """
    if len(rows) > _MAX_ROWS:
        title += f" (the first {_MAX_ROWS} of {len(rows):,})"
        rows = dict(list(rows.items())[:_MAX_ROWS])
    columns = max(map(len, rows.values()))
    cell = side + _GAP
    canvas = np.full((cell * len(rows), cell * columns, 3), 255, np.uint8)
    for row, pictures in enumerate(rows.values()):
        for column, picture in enumerate(pictures):
            scaled = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
            top, left = row * cell, column * cell
            canvas[top : top + side, left : left + side] = np.asarray(scaled)
    height, width = (extent / _DPI for extent in canvas.shape[:2])
    with matplotlib.rc_context({"font.size": 9}):
        total_width, total_height = width + _LABEL_INCHES, height + 0.5
        figure = Figure(figsize=(total_width, total_height), dpi=_DPI)
        area = (_LABEL_INCHES / total_width, 0.02, width / total_width, height / total_height - 0.02)
        axes = figure.add_axes(area)
        # At its own size: no pixel of a small picture is smoothed a second time.
        axes.imshow(canvas, interpolation="nearest", aspect="auto")
        axes.set_yticks([cell * row + side / 2 for row in range(len(rows))], [_short(name) for name in rows])
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(title, loc="left", fontsize=10)
        figure.savefig(path, dpi=_DPI, format="png")


def _short(name: str, most: int = 32) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
