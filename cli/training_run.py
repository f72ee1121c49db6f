"""What `elastic train` and `elastic distil` share: stopping a run, and resuming it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from core.errors import TrainingError
from training.run_folder import FINISHED, RUN_FILE, read_run

RUNS = Path("var/runs")


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


def read_resumable(folder: Path) -> dict[str, Any]:
    """Reads the description of a run that is to be resumed.

    Raises:
        TrainingError: there is none, or it is finished.
    """
    run = read_run(folder)
    if run.get("status") == FINISHED:
        raise TrainingError(f"the run in {folder} is finished; there is nothing to resume")
    return run
