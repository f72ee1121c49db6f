"""Draw the report's charts as SVG, with colours from the page's light or dark theme."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Placeholder colours; in the SVG they are replaced by the page's own.
_INK, _ACCENT, _WARNING, _PAPER = "#010101", "#020202", "#030303", "#040404"
_ON_PAGE = {_INK: "currentColor", _ACCENT: "var(--accent)", _WARNING: "var(--warning)", _PAPER: "var(--card)"}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "evaluation",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LARGEST_MATRIX = 40
_LARGEST_WITH_NUMBERS = 25
_STRONG = 0.6


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draws the reliability diagram as SVG: accuracy and number of photos by confidence.

    Args:
        bins: ``calibration`` of `evaluation.figures.measure`.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        left, width = [each["from"] for each in bins], [each["to"] - each["from"] for each in bins]
        above.plot((0, 1), (0, 1), color=_INK, alpha=0.45, linestyle=(0, (4, 4)), linewidth=1)
        above.bar(left, [each["accuracy"] for each in bins], width, align="edge", color=_ACCENT, alpha=0.55)
        above.plot(
            [each["confidence"] for each in bins], [each["accuracy"] for each in bins], "o", color=_ACCENT, markersize=4
        )
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        below.bar(left, [each["images"] for each in bins], width, align="edge", color=_INK, alpha=0.3)
        below.set(xlabel="the model's confidence", ylabel="photos")
        return _svg(figure)


def confusion_matrix(matrix: Mapping[str, Mapping[str, int]]) -> tuple[str, bool]:
    """Draws the confusion matrix as SVG; returns it, and whether it has all classes.

    The rows are the classes of the photos, the columns those and others that were predicted.  Of more than 40 classes
    only those that are confused most often are drawn.

    Args:
        matrix: ``confusion`` of `evaluation.figures.measure`.
    """
    rows, columns, complete = _shown(matrix)
    down = {label: position for position, label in enumerate(rows)}
    across = {label: position for position, label in enumerate(columns)}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(2.2 + 0.24 * len(columns), 2.2 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
        for true in rows:
            row = matrix[true]
            total = sum(row.values())
            for predicted, images in row.items():
                if predicted in across:
                    colour = _ACCENT if predicted == true else _WARNING
                    corner = (across[predicted] - 0.47, down[true] - 0.47)
                    strength = 0.12 + 0.88 * images / total
                    axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=colour, alpha=strength, linewidth=0))
                    if len(columns) <= _LARGEST_WITH_NUMBERS:
                        ink = _PAPER if strength > _STRONG else _INK
                        style: Any = {"ha": "center", "va": "center", "fontsize": 7, "color": ink}
                        axes.text(across[predicted], down[true], str(images), **style)
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_alpha(0.25)
        axes.set(xlabel="predicted", ylabel="true")
        return _svg(figure), complete


def _shown(matrix: Mapping[str, Mapping[str, int]]) -> tuple[list[str], list[str], bool]:
    """The classes of the rows and of the columns, and whether these are all."""
    labels = list(dict.fromkeys([*matrix, *(predicted for row in matrix.values() for predicted in row)]))
    if complete := len(labels) <= _LARGEST_MATRIX:
        shown = set(labels)
    else:
        mistakes: Counter[str] = Counter()
        for true, row in matrix.items():
            for predicted, images in row.items():
                if predicted != true:
                    mistakes.update({true: images, predicted: images})
        shown = {label for label, _ in mistakes.most_common(_LARGEST_MATRIX)} or set(labels[:_LARGEST_MATRIX])
    return [label for label in matrix if label in shown], [label for label in labels if label in shown], complete


def _svg(figure: Figure) -> str:
    file = io.StringIO()
    # Tight: long labels, turned, reach beyond what the layout reserves for them.
    figure.savefig(file, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    for placeholder, colour in _ON_PAGE.items():
        text = text.replace(placeholder, colour)
    return text[text.index("<svg") :]
