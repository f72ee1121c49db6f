"""Store a run's description with its progress, and draw its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.checkpoints import Progress
from training.plots import draw_curves
from training.run_folder import CURVES_FILE, write_run


def store_run(folder: Path, run: dict[str, Any], progress: Progress, status: str) -> None:
    """Stores the description `run`, after setting its status and its progress, and the curves of its epochs."""
    run |= {"status": status, "best_epoch": progress.best_epoch, "history": progress.history}
    write_run(folder, run)
    if progress.history:
        draw_curves(progress.history, progress.best_epoch, folder / CURVES_FILE)
