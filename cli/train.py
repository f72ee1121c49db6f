"""`elastic train`: the options, and what is checked before anything heavy is loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from core.errors import TrainingError
from training.architectures import ARCHITECTURES
from training.config import AUGMENTATIONS, IMAGENET, NO_WEIGHTS, OPTIMIZERS, PRECISIONS, TrainingConfig
from training.datasets import KINDS
from training.datasets.samples import PARTS
from training.run_folder import FINISHED, RUN_FILE, read_run

if TYPE_CHECKING:
    from training.data import TrainingData

RUNS = Path("var/runs")
CACHE = Path("var/training-cache")

_F = TypeVar("_F", bound=Callable[..., Any])

# What an architecture's own defaults do not say.
_DEFAULTS: dict[str, Any] = {
    "initialized_learning_rate": 6e-5,
    "momentum": 0.9,
    "clip_norm": 1.0,
    "label_smoothing": 0.0,
    "patience": 8,
}


_AT_LEAST_0 = click.FloatRange(min=0)


def _number(name: str, text: str, kind: click.ParamType[Any] = _AT_LEAST_0) -> Callable[[_F], _F]:
    return click.option(name, type=kind, help=f"{text}  [default: the architecture's]")


@click.command()
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The run's folder.  [default: var/runs/…]"
)
@click.option(
    "--resume", type=click.Path(path_type=Path, file_okay=False), help="Go on with this run, as it began; no DATA."
)
@click.option(
    "--kind", type=click.Choice(KINDS), default="auto", show_default=True, help="Form of the data set, if not obvious."
)
@click.option(
    "--architecture", type=click.Choice(tuple(ARCHITECTURES)), default="resnet50", show_default=True, help="Network."
)
@click.option(
    "--weights",
    metavar="imagenet|none|FILE",
    help="Where to start: Keras's ImageNet weights (downloaded once), random ones, or a .h5, .npz or .keras file.  "
    "[default: imagenet where the architecture has them]",
)
@_number("--side", "Height and width of the input, pixels.", click.IntRange(8, 1024))
@_number("--epochs", "Passes over the training images.", click.IntRange(min=1))
@_number("--frozen-epochs", "Of these, so many first that train new layers only.", click.IntRange(min=0))
@_number("--batch-size", "Images in a step.", click.IntRange(min=1))
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="[default: the architecture's]")
@_number("--learning-rate", "Highest rate of new layers.", click.FloatRange(min=0, min_open=True))
@_number("--initialized-learning-rate", "Highest rate of layers that start with given weights.")
@_number("--momentum", "Of SGD.", click.FloatRange(0, 1, max_open=True))
@_number("--weight-decay", "Decoupled, times the learning rate.")
@_number("--clip-norm", "Limit on the norm of all gradients; 0: none.")
@_number("--label-smoothing", "Share of certainty given to the other classes.", click.FloatRange(0, 1, max_open=True))
@_number("--dropout", "Share of features left out while training.", click.FloatRange(0, 1, max_open=True))
@_number("--warmup-epochs", "The rate grows from 0 so long; then it falls as a cosine.")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="End after so many epochs without a better validation accuracy; 0: never.  [default: 8]",
)
@click.option(
    "--augment",
    metavar="LIST",
    help=f"Random changes, separated by commas, of {', '.join(AUGMENTATIONS)}; or none.  [default: the architecture's]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Numbers to compute in; auto: what the GPU is made for, or what is faster on this CPU.",
)
@click.option(
    "--validation",
    "validation_share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share that chooses the best epoch, unless the data set has such a part.",
)
@click.option(
    "--test",
    "test_share",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share that is looked at once, at the end, unless the data set has parts of its own.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides about all chance.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Folder for decoded images, about 3 × side² bytes each; may be removed at any time.",
)
def train(data: Path | None, out: Path | None, resume: Path | None, cache: Path, **options: Any) -> None:
    """Train a classifier on the images in DATA.

    DATA is a folder with a folder for each class (or with train, val and test above these), a .lst manifest (index,
    label and path, separated by tabs), a folder with Stanford Dogs' images.tar and lists.tar,
    cifar-10-python.tar.gz, or a mixture (.toml, as in training/mixtures) of data sets beside it.

    Unreadable and double images are named and left out.  The best epoch is kept as model.keras, with everything
    about it in run.json, history.csv and curves.png.  Ctrl-C loses the current epoch only: --resume goes on.
    """
    console = Console()
    if importlib.util.find_spec("tensorflow") is None:
        raise TrainingError("training needs TensorFlow, which running does not; `make setup` installs it")
    if (resume is None) == (data is None):
        raise click.UsageError("Give either DATA, or --resume with the folder of a run.")
    if resume is not None:
        config, folder = _read_config(resume), resume
    else:
        assert data is not None  # noqa: S101 - checked above
        config = make_config(data, options)
        folder = out or RUNS / f"{config.architecture}-{time.strftime('%Y%m%d-%H%M%S')}"
        if (folder / RUN_FILE).exists():
            raise TrainingError(f"{folder} holds a run; go on with it by --resume {folder}, or name another --out")
    # Whoever stops a training means it as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _train(config, folder, cache, console)
    except KeyboardInterrupt:
        if (folder / RUN_FILE).exists():
            console.print(f"\nStopped.  Go on with: elastic train --resume {folder}", highlight=False, soft_wrap=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def make_config(data: Path, options: dict[str, Any]) -> TrainingConfig:
    """The configuration: the options given, else the architecture's defaults, else those of all."""
    architecture = ARCHITECTURES[options["architecture"]]
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("weights") not in (None, IMAGENET, NO_WEIGHTS):
        # A run may be resumed from another folder.
        given["weights"] = str(Path(given["weights"]).resolve())
    if "augment" in given:
        names = (name.strip() for name in given["augment"].split(","))
        given["augment"] = tuple(name for name in names if name and name != "none")
    weights = IMAGENET if architecture.pretrained else NO_WEIGHTS
    defaults = {**_DEFAULTS, "side": architecture.side, "weights": weights, **architecture.defaults}
    config = TrainingConfig(source=str(data.resolve()), **{**defaults, **given})
    if config.weights == IMAGENET and not architecture.pretrained:
        raise TrainingError(f"there are no ImageNet weights of {architecture.name}; leave --weights out")
    return config


def _read_config(folder: Path) -> TrainingConfig:
    run = read_run(folder)
    if run.get("status") == FINISHED:
        raise TrainingError(f"the run in {folder} is finished; there is nothing to resume")
    return TrainingConfig.from_fields(run["hyperparameters"])


def _train(config: TrainingConfig, folder: Path, cache: Path, console: Console) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with console.status("Loading TensorFlow …"), _silent_stderr():
        from training import precision, weights
        from training.data import make_ready, write_data
        from training.train import Training

        numbers = precision.choose(config.precision)

    # Before the images are decoded, which may take minutes.
    if config.weights == IMAGENET and not weights.can_be_had(config.architecture):
        raise TrainingError(
            f"the ImageNet weights of {config.architecture} cannot be downloaded: their server cannot be reached.  "
            "Name a file with --weights FILE (.h5, .npz or .keras), or start from random weights with --weights none"
        )
    if config.weights not in (IMAGENET, NO_WEIGHTS):
        weights.read_weights(Path(config.weights))
    data: TrainingData = make_ready(config, cache, console)
    if (folder / RUN_FILE).exists():
        _require_same_data(read_run(folder), data)
    config = dataclasses.replace(config, precision=numbers)
    folder.mkdir(parents=True, exist_ok=True)
    write_data(data, folder)
    run = Training(config, data, folder, console).run()
    _tell_end(run, folder, console)


def _require_same_data(run: dict[str, Any], data: TrainingData) -> None:
    """A model that has seen some images must not be validated on them because the split came out differently."""
    sizes = {part: data.facts[part] for part in PARTS}
    if run["labels"] != list(data.labels) or any(run["dataset"][part] != size for part, size in sizes.items()):
        raise TrainingError(f"{run['dataset']['source']} has changed since the run began; start a new one")


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow tells of itself while it is loaded, whatever its log level; what goes wrong comes as an exception."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _tell_end(run: dict[str, Any], folder: Path, console: Console) -> None:
    for part in ("validation", "test"):
        if run[part]:
            figures = ", ".join(f"{name} {run[part][name]:.4f}" for name in ("accuracy", "precision", "recall", "f1"))
            console.print(f"Best epoch {run['best_epoch']}, {part}: {figures}", highlight=False, soft_wrap=True)
    console.print(f"Everything about it: {folder}", highlight=False, soft_wrap=True)
