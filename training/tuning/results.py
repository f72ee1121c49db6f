"""The trials of a search as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from training.plots import STYLE
from training.run_folder import write_csv
from training.tuning.search_space import LEARNING_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
_COLOURS = {COMPLETE: "#0b6bcb", PRUNED: "#d55e00", FAILED: "#7b7b7b"}


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial of a search.

    Attributes:
        state: `COMPLETE`; `PRUNED`, stopped early because others were better or the time was over; or `FAILED`, because
            the loss was no longer a number.
        accuracy: the best validation accuracy of its epochs; None if it has no epoch.
    """

    number: int
    state: str
    accuracy: float | None
    epochs: int
    values: dict[str, Any]


def to_result(trial: FrozenTrial) -> TrialResult:
    """Converts a finished trial of Optuna."""
    accuracies = list(trial.intermediate_values.values())
    state = {"COMPLETE": COMPLETE, "PRUNED": PRUNED}.get(trial.state.name, FAILED)
    return TrialResult(trial.number, state, max(accuracies, default=None), len(accuracies), dict(trial.params))


def ranked(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The results in order: complete ones first, the best of each state first."""
    order = (COMPLETE, PRUNED, FAILED)
    return sorted(results, key=lambda each: (order.index(each.state), -(each.accuracy or 0.0), each.number))


def write_trials(path: Path, results: Sequence[TrialResult], names: Sequence[str]) -> None:
    """Writes the trials as CSV, in the order of their numbers."""
    rows = (
        [each.number, each.state, each.accuracy, each.epochs, *(each.values.get(name, "") for name in names)]
        for each in results
    )
    write_csv(path, ("trial", "state", "val_accuracy", "epochs", *names), rows)


def draw_trials(path: Path, results: Sequence[TrialResult], names: Sequence[str]) -> None:
    """Draws the accuracy of each trial with the best one so far, and the accuracy by each hyperparameter."""
    shown = [each for each in results if each.accuracy is not None]
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(3.6 * (1 + len(names)), 3.4), layout="constrained")
        first, *others = figure.subplots(1, 1 + len(names), sharey=True)
        complete = [each for each in shown if each.state == COMPLETE]
        best = list(accumulate((each.accuracy or 0.0 for each in complete), max))
        first.step([each.number for each in complete], best, where="post", color="#b9c0c8", label="best so far")
        first.set(title="trials", xlabel="trial", ylabel="validation accuracy")
        first.xaxis.get_major_locator().set_params(integer=True)
        for axes, name in zip(others, names, strict=True):
            axes.set(title=name.replace("_", " "))
            _prepare_axis(axes, name, [each.values[name] for each in shown])
        for state, colour in _COLOURS.items():
            of_state = [each for each in shown if each.state == state]
            if of_state:
                heights = [each.accuracy for each in of_state]
                first.scatter([each.number for each in of_state], heights, color=colour, s=18, label=state, zorder=3)
                for axes, name in zip(others, names, strict=True):
                    places = _places([each.values[name] for each in shown], name)
                    axes.scatter([places[each.values[name]] for each in of_state], heights, color=colour, s=18)
        first.legend(frameon=False)
        figure.savefig(path, dpi=110)


def _places(values: Sequence[Any], name: str) -> dict[Any, float]:
    """Where each value is on its axis: a learning rate at itself, of others one beside the other."""
    if name == LEARNING_RATE:
        return {value: value for value in values}
    return {value: place for place, value in enumerate(sorted(set(values)))}


def _prepare_axis(axes: Axes, name: str, values: Sequence[Any]) -> None:
    if name == LEARNING_RATE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    places = _places(values, name)
    axes.set_xticks(list(places.values()), list(map(str, places)))
    axes.margins(x=0.2)
