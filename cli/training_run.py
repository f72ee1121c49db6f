"""What `elastic train` and `elastic distil` share: options, a run's new folder, stopping a run, and resuming it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from core.errors import TrainingError
from training.config import PRECISIONS
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


@contextmanager
def stoppable(folder: Path, command: str, console: Console) -> Iterator[None]:
    """Ends the run in `folder` on SIGTERM as on Ctrl-C, and prints the command that resumes it."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    except KeyboardInterrupt:
        if (folder / RUN_FILE).exists():
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
