"""`elastic tune`: search hyperparameters by short trainings."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from cli.options import quiet
from cli.session import progress_console
from cli.tables import print_table
from cli.training_run import (
    RUNS,
    architecture_option,
    cache_option,
    classes_option,
    kind_option,
    precision_option,
    refuse_other_options,
    seed_option,
    side_option,
    stoppable,
    test_option,
    validation_option,
    weights_option,
)
from core.errors import TrainingError
from core.standard_error import silenced_stderr
from training.config import TrainingConfig, make_config
from training.datasets import load_dataset
from training.requirement import require_tensorflow
from training.tuning.config import PLOT_FILE, TRIALS_FILE, TUNE_FILE, TuningConfig, read_tuning

if TYPE_CHECKING:
    from training.data import TrainingData
    from training.datasets.samples import ImageDataset
    from training.tuning.tuner import Tuner

_EPOCHS, _TRIALS, _MINUTES = 3, 20, 60.0


@click.command("tune")
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The search's new folder.  [default: var/runs/…]"
)
@click.option(
    "--resume", type=click.Path(path_type=Path, file_okay=False), help="Resume the search in this folder; without DATA."
)
@click.option(
    "--trials", type=click.IntRange(min=1), help=f"Number of trials, with those already done.  [default: {_TRIALS}]"
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Budget; the first trial is always completed.  [default: {_MINUTES:g}]",
)
@click.option("--epochs", type=click.IntRange(min=1), default=_EPOCHS, show_default=True, help="Length of each trial.")
@kind_option
@classes_option
@architecture_option
@weights_option
@side_option
@precision_option
@validation_option
@test_option
@seed_option
@cache_option
@quiet
@click.pass_context
def tune(
    context: click.Context,
    /,
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    trials: int | None,
    minutes: float | None,
    cache: Path,
    **options: Any,
) -> None:
    """Search hyperparameters by short trainings.

    Each trial trains for --epochs with other values of the learning rate, the batch size, the share of unfrozen layers
    and the augmentation, chosen by Optuna from the trials before; the first has the defaults.  Trials that are worse
    than the median at the same epoch are stopped early.  Trials are compared by their validation accuracy; the test
    images are not used.  Ctrl-C or the end of the budget loses the current epochs only: --resume continues.

    The search's folder gets trials.csv and tuning.png.  The best trial is an ordinary run, which `elastic train
    --resume` continues.
    """
    if importlib.util.find_spec("optuna") is None:
        raise TrainingError("this needs Optuna, which is not installed; `make setup` installs it")
    require_tensorflow()
    if (resume is None) == (data is None):
        raise click.UsageError("Give either DATA, or --resume with a search's folder.")
    if resume is not None:
        refuse_other_options(context, ("trials", "minutes"))
        folder, config = resume, read_tuning(resume)
        config = dataclasses.replace(config, trials=trials or config.trials, minutes=minutes or config.minutes)
    else:
        assert data is not None  # noqa: S101 - checked above
        config = TuningConfig(_base(data, options), trials or _TRIALS, minutes or _MINUTES)
        folder = out or RUNS / f"tune-{config.base.architecture}-{time.strftime('%Y%m%d-%H%M%S')}"
        if (folder / TUNE_FILE).exists():
            raise TrainingError(f"{folder} holds a search; continue it with --resume {folder}, or give another --out")
    with stoppable(folder, "elastic tune", Console(), begun=TUNE_FILE):
        _tune(config, folder, cache, progress_console(stderr=False))


def _base(data: Path, options: dict[str, Any]) -> TrainingConfig:
    if not data.exists():
        raise TrainingError(f"{data.resolve()} does not exist")
    # Defaults that are longer than a trial are shortened to it.
    config = make_config(data, {**options, "frozen_epochs": 0})
    whole = make_config(data, {**options, "epochs": None})
    return dataclasses.replace(config, frozen_epochs=min(whole.frozen_epochs, max(0, config.epochs - 1)))


def _tune(config: TuningConfig, folder: Path, cache: Path, console: Console) -> None:
    base = config.base
    with console.status("Reading the data set …"):
        dataset = load_dataset(base.source_path, base.kind, cache, base.classes)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with console.status("Loading TensorFlow …"), silenced_stderr():
        from training import precision, weights
        from training.data import write_data
        from training.tuning.tuner import Tuner

        config = dataclasses.replace(config, base=dataclasses.replace(base, precision=precision.choose(base.precision)))
    # Each trial has a network of its own, and TensorFlow warns of each that it prepares.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    weights.require_available(base)
    prepared = _Prepared(dataset, cache, console)
    prepared(config.base)
    folder.mkdir(parents=True, exist_ok=True)
    config.write(folder)
    tuner = Tuner(config, folder, prepared, console, time.monotonic, lambda: _store(tuner, config, folder))
    tuner.run()
    _store(tuner, config, folder)
    _print(tuner, config, folder, Console())
    if tuner.best is not None:
        write_data(prepared(config.base), tuner.best.folder)


class _Prepared:
    """The data set for a trial: decoded once with a margin for random crops and once without, as needed."""

    def __init__(self, dataset: ImageDataset, cache: Path, console: Console) -> None:
        self._dataset, self._cache, self._console = dataset, cache, console
        self._data: dict[bool, TrainingData] = {}

    def __call__(self, config: TrainingConfig) -> TrainingData:
        from training.data import prepare_data

        crops = "crop" in config.augment
        if crops not in self._data:
            # Its facts were printed the first time.
            console = Console(quiet=True) if self._data else self._console
            self._data[crops] = prepare_data(config, self._cache, console, self._dataset)
        return self._data[crops]


def _store(tuner: Tuner, config: TuningConfig, folder: Path) -> None:
    from training.tuning.results import draw_trials, write_trials
    from training.tuning.search_space import names

    if results := tuner.results:
        write_trials(folder / TRIALS_FILE, results, names(config.base))
        draw_trials(folder / PLOT_FILE, results, names(config.base))


def _print(tuner: Tuner, config: TuningConfig, folder: Path, console: Console) -> None:
    from training.tuning.results import ranked
    from training.tuning.search_space import names

    table = Table("trial", "validation accuracy", "epochs", "state", *(n.replace("_", " ") for n in names(config.base)))
    for each in ranked(tuner.results):
        values = (each.values.get(name, "") for name in names(config.base))
        accuracy = "–" if each.accuracy is None else f"{each.accuracy:.4f}"
        shown = (f"{value:.2g}" if isinstance(value, float) else str(value) for value in values)
        table.add_row(str(each.number), accuracy, str(each.epochs), each.state, *shown)
    print_table(console, table)
    lines = []
    if (done := len(tuner.results)) < config.trials:
        lines.append(f"{done} of {config.trials} trials are done.  Continue with: elastic tune --resume {folder}")
    if (best := tuner.best) is not None:
        epochs = max(_full_epochs(config.base), best.result.epochs + 1)
        lines.append(f"Train the best one on: elastic train --resume {best.folder} --epochs {epochs}")
    lines.append(f"The search's folder: {folder}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _full_epochs(base: TrainingConfig) -> int:
    """The epochs of an ordinary training of this architecture."""
    from training.architectures import ARCHITECTURES

    return int(ARCHITECTURES[base.architecture].defaults["epochs"])
