"""Draw the chart of a simulation: cost against wait for each trace, how exact the fleets are, one trace over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from simulation.comparison import OPTIMUM, Comparison

# Blue for ours; the others from the palette of Okabe and Ito, which is distinguishable with colour blindness.
_OURS = ("#0b6bcb", "o", 95)
_OTHERS = {
    "visible-only": ("#d55e00", "X", 62),
    "aws-target-tracking": ("#b8860b", "s", 46),
    "keda": ("#7b4fa3", "D", 44),
    OPTIMUM: ("#1a1a1a", "*", 95),
}
_LABELS = {"visible-only": "min(visible, maximum)", "aws-target-tracking": "AWS target tracking", "keda": "KEDA"}
_INK, _MUTED, _GRID = "#1f2328", "#59636e", "#e3e6ea"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": "#b9c0c8",
    "axes.labelcolor": _MUTED,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "elastic",
}
_COLUMNS = 3
# The first of these that was simulated is drawn over time.
_OVER_TIME = ("crowd", "burst")


class PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as people write numbers: 60, not 6 × 10¹."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick; empty where the axis has labels enough."""
        return plain_number(x) if super().__call__(x, pos) else ""


def plain_number(value: float) -> str:
    """A number without an exponent: 0.002, 1.5, 60, 20,000."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if value < 1 else f"{value:,.10g}"


def draw_picture(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws `comparisons` 900 pixels wide (twice as many in a PNG, for sharp screens), as PNG or SVG."""
    with matplotlib.rc_context(_STYLE):
        make_figure(comparisons).savefig(
            path, dpi=200, metadata={"Date": None} if path.suffix.lower() == ".svg" else None
        )


def make_figure(comparisons: Sequence[Comparison]) -> Figure:
    """The chart of `comparisons`."""
    over_time = next((c for name in _OVER_TIME for c in comparisons if c.trace.name == name), comparisons[0])
    equal_bursts = max(
        (c for c in comparisons if c.ours.peak_spread is not None),
        key=lambda c: len(c.trace.burst_starts),
        default=None,
    )
    rows = math.ceil((len(comparisons) + (3 if equal_bursts else 1)) / _COLUMNS)
    with matplotlib.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.07)
        figure = Figure(figsize=(9, 2.05 * rows + 3.0), facecolor="white", layout=layout)
        grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=[1.0] * rows + [1.15])
        figure.suptitle(
            "Cost and wait: the further down and to the left, the better",
            x=0.012,
            ha="left",
            fontsize=12.5,
            fontweight="bold",
        )
        panels: list[Any] = []
        for index, comparison in enumerate(comparisons):
            shared = {"sharex": panels[0], "sharey": panels[0]} if panels else {}
            axes = figure.add_subplot(grid[index // _COLUMNS, index % _COLUMNS], **shared)
            _draw_trade(axes, comparison)
            panels.append(axes)
            if index % _COLUMNS:
                axes.tick_params(which="both", labelleft=False)
            else:
                axes.set_ylabel("p95 wait, seconds")
            if index + _COLUMNS < len(comparisons):
                axes.tick_params(which="both", labelbottom=False)
            else:
                axes.set_xlabel("instance-seconds ÷ optimum")
        ours = comparisons[0].ours.scaler
        if equal_bursts:
            spreads = {row.scaler: row.peak_spread or 0 for row in equal_bursts.rows[:-1]}
            empty = {name: sum(c.row(name).empty_launches for c in comparisons) for name in spreads}
            place = rows * _COLUMNS - 3
            for title, values in (("Launches into an empty queue", empty), ("Spread of equal bursts' peaks", spreads)):
                _draw_bars(figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS]), title, values)
                place += 1
        _draw_legend(figure.add_subplot(grid[rows - 1, _COLUMNS - 1]), ours)
        _draw_over_time(figure.add_subplot(grid[rows, :]), over_time)
    return figure


def _draw_trade(axes: Any, comparison: Comparison) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(comparison.trace.name, fontweight="bold")
    for place, row in enumerate((*comparison.rows[1:-1], comparison.ours, comparison.row(OPTIMUM))):
        colour, marker, size = _OTHERS.get(row.scaler, _OURS)
        at = row.cost_ratio, row.p95_wait_seconds
        axes.scatter(*at, s=size, c=colour, marker=marker, linewidths=0.8, edgecolors="white", zorder=3 + place)
    ours = comparison.ours
    axes.annotate(
        f"{ours.cost_ratio:.2f}×, {ours.p95_wait_seconds:.2g} s",
        (ours.cost_ratio, ours.p95_wait_seconds),
        xytext=(3, 7 if _has_room_above(comparison) else -15),
        textcoords="offset points",
        color=_OURS[0],
        fontsize=8,
    )
    axes.margins(x=0.06, y=0.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PlainLogFormatter())
        axis.set_minor_formatter(PlainLogFormatter(minor_thresholds=(1.5, 0.4)))


def _has_room_above(comparison: Comparison) -> bool:
    """Whether the label has more room above our point than below it."""
    x, y = math.log10(comparison.ours.cost_ratio) + 0.5, math.log10(comparison.ours.p95_wait_seconds)
    others = [(math.log10(row.cost_ratio), math.log10(row.p95_wait_seconds)) for row in comparison.rows[1:-1]]
    above, below = (min(math.hypot((a - x) / 2, b - y - shift) for a, b in others) for shift in (0.5, -0.6))
    return above >= below or comparison.ours.p95_wait_seconds < 1


def _draw_legend(axes: Any, ours: str) -> None:
    axes.axis("off")
    entries = {ours: (*_OURS, f"this program, {ours}")}
    entries |= {name: (*style, _LABELS.get(name, "clairvoyant optimum")) for name, style in _OTHERS.items()}
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=7, label=label)
        for colour, marker, _, label in entries.values()
    ]
    axes.legend(handles=handles, loc="center left", frameon=False, borderaxespad=0, fontsize=8.5, labelspacing=0.9)


def _draw_bars(axes: Any, title: str, values: Mapping[str, int]) -> None:
    """A bar with its number for each scaler, ours at the top."""
    names = list(values)[::-1]
    lengths = [values[name] for name in names]
    bars = axes.barh(range(len(names)), lengths, color=[_OTHERS.get(name, _OURS)[0] for name in names], height=0.55)
    axes.bar_label(bars, [f"{length:,}" for length in lengths], padding=4, fontsize=8, color=_INK)
    axes.set_title(title, fontweight="bold")
    axes.set_yticks(range(len(names)), ["" for _ in names])
    axes.set_xticks([])
    axes.set_xlim(0, max(1, *lengths) * 1.2)
    axes.spines["bottom"].set_visible(False)


def _draw_over_time(axes: Any, comparison: Comparison) -> None:
    ours = comparison.ours.scaler
    end = max(at for at, _, _ in comparison.timelines[ours]) * 2.2
    for name, timeline in reversed(comparison.timelines.items()):
        colour, _, _ = _OTHERS.get(name, _OURS)
        times, _, sizes = zip(*timeline, strict=True)
        width = 2.6 if name == ours else 1.4
        axes.step((*times, end), (*sizes, sizes[-1]), where="post", color=colour, linewidth=width, label=name)
    axes.set_xlim(0, end)
    axes.set_ylim(0, None)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_title(f"{comparison.trace.name} over time: instances, and waiting images (shaded)", fontweight="bold")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("seconds since the first image")
    axes.set_ylabel("instances")
    times, backlogs, _ = zip(*comparison.timelines[ours], strict=True)
    behind = axes.twinx()
    behind.fill_between(times, backlogs, step="post", color=_OURS[0], alpha=0.12, linewidth=0)
    behind.set_ylim(0, None)
    behind.set_ylabel(f"waiting images, {ours}")
    behind.spines["right"].set_visible(False)
    behind.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
