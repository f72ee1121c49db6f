"""What `elastic train` and `elastic distil` share: options, a run's new folder, stopping a run, and resuming it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource
from rich.console import Console

from core.errors import TrainingError
from training.architectures import ARCHITECTURES
from training.config import PRECISIONS
from training.datasets import KINDS
from training.run_folder import CHECKPOINTS_FOLDER, FINISHED, RUN_FILE, read_run

RUNS = Path("var/runs")
CACHE = Path("var/training-cache")

out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The run's new folder.  [default: var/runs/…]"
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Number format of the computation; auto: by the GPU's generation, or the faster one on this CPU.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all random choices."
)
kind_option = click.option(
    "--kind", type=click.Choice(KINDS), default="auto", show_default=True, help="The data set's format."
)
architecture_option = click.option(
    "--architecture",
    type=click.Choice(tuple(ARCHITECTURES)),
    default="resnet50",
    show_default=True,
    help="The network.",
)
weights_option = click.option(
    "--weights",
    metavar="imagenet|none|FILE",
    help="Initial weights: Keras's for ImageNet (downloaded once), random ones, or a .h5, .npz or .keras file.  "
    "[default: imagenet if the architecture has them]",
)
side_option = click.option(
    "--side",
    type=click.IntRange(8, 1024),
    help="Height and width of the input, pixels.  [default: the architecture's]",
)
validation_option = click.option(
    "--validation",
    "validation_share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the images that selects the best epoch, unless the data set has a validation part.",
)
test_option = click.option(
    "--test",
    "test_share",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the images that is used once, at the end, unless the data set has parts of its own.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Folder for decoded images, about 3 × side² bytes each; may be deleted between runs.",
)
classes_option = click.option(
    "--classes",
    metavar="NUMBER|NAMES",
    default="",
    help="Use only the first NUMBER classes, or these, separated by commas.  [default: all]",
)


def new_folder(out: Path | None, architecture: str) -> Path:
    """The folder of a new run: `out`, or one that is named by the architecture and the time.

    Raises:
        TrainingError: it holds a run.
    """
    folder = out or RUNS / f"{architecture}-{time.strftime('%Y%m%d-%H%M%S')}"
    if (folder / RUN_FILE).exists():
        raise TrainingError(f"{folder} holds a run; continue it with --resume {folder}, or give another --out")
    return folder


def refuse_other_options(context: click.Context, allowed: Sequence[str]) -> None:
    """Raises a usage error for options that a resumed run would ignore: it has its own.

    Args:
        allowed: names of options that change it.
    """
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        and parameter.name not in ("resume", "cache", "quiet", *allowed)
    ]
    if given:
        changes = " and ".join(f"--{name}" for name in allowed)
        raise click.UsageError(f"{', '.join(given)}: a resumed run keeps its options; only {changes} may be given.")


@contextmanager
def stoppable(folder: Path, command: str, console: Console, begun: str = RUN_FILE) -> Iterator[None]:
    """Ends the run in `folder` on SIGTERM as on Ctrl-C, and prints the command that resumes it.

    Args:
        begun: the file that the folder has as soon as there is something to resume.
    """

    def stop(*_: object) -> NoReturn:
        # Not by raising SIGINT, which shells make background processes ignore.
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if (folder / begun).exists():
            console.print(f"\nStopped.  Continue with: {command} --resume {folder}", highlight=False, soft_wrap=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def read_resumable(folder: Path, *, extends: bool = False) -> dict[str, Any]:
    """Reads the description of a run that is to be resumed.

    Args:
        extends: whether further epochs are asked for, so that a finished run can be continued.

    Raises:
        TrainingError: there is none, or it is finished.
    """
    run = read_run(folder)
    if run.get("status") == FINISHED and not extends:
        raise TrainingError(f"the run in {folder} is finished; there is nothing to resume")
    if run.get("status") == FINISHED and not list((folder / CHECKPOINTS_FOLDER).glob("epoch-*")):
        raise TrainingError(f"{folder} has no checkpoint to continue from; start a new run with --weights MODEL.keras")
    return run
