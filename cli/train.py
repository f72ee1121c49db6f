"""`elastic train`: train a classifier; checks the options before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from cli.options import quiet
from cli.session import progress_console
from cli.training_run import (
    architecture_option,
    cache_option,
    classes_option,
    kind_option,
    new_folder,
    out_option,
    precision_option,
    read_resumable,
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
from training.config import AUGMENTATIONS, OPTIMIZERS, TrainingConfig, make_config
from training.datasets import load_dataset
from training.datasets.published import PUBLISHED, PublishedDataset, download_dataset
from training.run_folder import FINISHED, RUN_FILE, read_run

if TYPE_CHECKING:
    from training.data import TrainingData

_F = TypeVar("_F", bound=Callable[..., Any])

_AT_LEAST_0 = click.FloatRange(min=0)
_SHARE = click.FloatRange(0, 1)


def _number(name: str, text: str, kind: click.ParamType[Any] = _AT_LEAST_0) -> Callable[[_F], _F]:
    return click.option(name, type=kind, help=f"{text}  [default: the architecture's]")


@click.command()
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--download",
    type=click.Choice(tuple(PUBLISHED)),
    help="Download this data set into the folder DATA from its official address, check it, and end.",
)
@out_option
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    help="Resume the run in this folder, without DATA; with --epochs, also a finished one.",
)
@kind_option
@classes_option
@architecture_option
@weights_option
@side_option
@_number("--epochs", "Passes over the training images.", click.IntRange(min=1))
@_number("--frozen-epochs", "The first epochs, in which only new layers are trained.", click.IntRange(min=0))
@_number("--unfreeze", "Share of the initialized layers, from the output, trained after these epochs; 0: none.", _SHARE)
@_number("--batch-size", "Images in a step.", click.IntRange(min=1))
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="Optimizer.  [default: the architecture's]")
@_number("--learning-rate", "Peak learning rate of new layers.", click.FloatRange(min=0, min_open=True))
@_number("--initialized-learning-rate", "Peak learning rate of layers with initial weights.")
@_number("--momentum", "Momentum of SGD.", click.FloatRange(0, 1, max_open=True))
@_number("--weight-decay", "Decoupled weight decay, times the learning rate.")
@_number("--clip-norm", "Limit of the global gradient norm; 0: none.")
@_number("--label-smoothing", "Share of the target spread over all classes.", click.FloatRange(0, 1, max_open=True))
@_number("--dropout", "Share of features dropped in training.", click.FloatRange(0, 1, max_open=True))
@_number("--warmup-epochs", "Epochs of linear warm-up, before the cosine decay.")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="Stop after this many epochs without a better validation accuracy; 0: never.  [default: 8]",
)
@click.option(
    "--augment",
    metavar="LIST",
    help=f"Random changes of training images, separated by commas: {', '.join(AUGMENTATIONS)}; or none.  "
    "[default: the architecture's]",
)
@precision_option
@validation_option
@test_option
@seed_option
@cache_option
@quiet
@click.pass_context
def train(
    context: click.Context,
    /,
    data: Path | None,
    download: str | None,
    out: Path | None,
    resume: Path | None,
    cache: Path,
    **options: Any,
) -> None:
    """Train a classifier on your own images.

    DATA is a folder with a folder for each class (or with train, val and test above these), a .lst manifest (index,
    label and path, separated by tabs) or the training list of a pair (X_train.lst, X_test.lst), Stanford Dogs or
    CIFAR-10, as archives or extracted, or a mixture of data sets (.toml, as in training/mixtures).  --download gets the
    published ones.

    Unreadable and duplicate images are reported and left out.  The best epoch is saved as model.keras; run.json,
    history.csv and curves.png describe the run.  Ctrl-C loses the current epoch only; --resume continues the run.
    --resume with --epochs extends a finished run to that many epochs.
    """
    console = Console()
    if download is not None:
        if data is None:
            raise click.UsageError("Give the folder DATA, into which the data set is downloaded.")
        _download(PUBLISHED[download], data, console)
        return
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError("training needs TensorFlow, which is not installed; `make setup` installs it")
    if (resume is None) == (data is None):
        raise click.UsageError("Give either DATA, or --resume with a run's folder.")
    if resume is not None:
        refuse_other_options(context, ("epochs",))
        config, folder = _read_config(resume, options["epochs"]), resume
    else:
        assert data is not None  # noqa: S101 - checked above
        if not data.exists():
            raise TrainingError(f"{data.resolve()} does not exist")
        config = make_config(data, options)
        folder = new_folder(out, config.architecture)
    with stoppable(folder, "elastic train", console):
        _train(config, folder, cache, progress_console(stderr=False))


def _download(dataset: PublishedDataset, folder: Path, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=progress_console(stderr=False), transient=True) as progress:
        task = progress.add_task("downloading", total=None)
        download_dataset(
            dataset,
            folder,
            lambda sentence: console.print(Text(sentence), soft_wrap=True),
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(Text(f"Downloaded and checked.  Train on it: elastic train {folder}"), soft_wrap=True)


def _read_config(folder: Path, epochs: int | None) -> TrainingConfig:
    run = read_resumable(folder, extends=epochs is not None)
    config = TrainingConfig.from_fields(run["hyperparameters"])
    if epochs is None:
        return config
    done = len(run["history"])
    if epochs <= done:
        raise TrainingError(f"the run in {folder} has {done} epochs already; give more with --epochs")
    extended_from = done if run["status"] == FINISHED else config.extended_from
    return dataclasses.replace(config, epochs=epochs, extended_from=extended_from)


def _train(config: TrainingConfig, folder: Path, cache: Path, console: Console) -> None:
    with console.status("Reading the data set …"):
        dataset = load_dataset(config.source_path, config.kind, cache, config.classes)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with console.status("Loading TensorFlow …"), silenced_stderr():
        from training import precision, weights
        from training.data import prepare_data, require_same_data, write_data
        from training.train import Training

        numbers = precision.choose(config.precision)

    weights.require_available(config)
    data: TrainingData = prepare_data(config, cache, console, dataset)
    if (folder / RUN_FILE).exists():
        require_same_data(read_run(folder), data)
    config = dataclasses.replace(config, precision=numbers)
    folder.mkdir(parents=True, exist_ok=True)
    write_data(data, folder)
    run = Training(config, data, folder, console).run()
    _print_summary(run, folder, Console())


def _print_summary(run: dict[str, Any], folder: Path, console: Console) -> None:
    for part in ("validation", "test"):
        if run[part]:
            figures = ", ".join(f"{name} {run[part][name]:.4f}" for name in ("accuracy", "precision", "recall", "f1"))
            console.print(f"Best epoch {run['best_epoch']}, {part}: {figures}", highlight=False, soft_wrap=True)
    console.print(f"The run's folder: {folder}", highlight=False, soft_wrap=True)
