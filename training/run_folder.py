"""Read and write the folder of a training run: `elastic train` writes it, `elastic export` reads it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import TrainingError

FORMAT = 1
MODEL_FILE = "model.keras"
RUN_FILE = "run.json"
SPLIT_FILE = "split.csv"
HISTORY_FILE = "history.csv"
CURVES_FILE = "curves.png"
CLASSES_FILE = "classes.png"
SAMPLES_FILE = "samples.png"
CHECKPOINTS_FOLDER = "checkpoints"
TENSORBOARD_FOLDER = "tensorboard"

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
HISTORY_COLUMNS = ("epoch", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def read_run(folder: Path) -> dict[str, Any]:
    """Reads the description of the run in `folder`.

    Raises:
        TrainingError: the folder holds no run, or one of another version.
    """
    try:
        run: dict[str, Any] = json.loads((folder / RUN_FILE).read_text("utf-8"))
        known = run["format"] == FORMAT
    except FileNotFoundError as error:
        raise TrainingError(f"{folder} is not the folder of a training run: it holds no {RUN_FILE}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder / RUN_FILE} cannot be read: {error!r}") from error
    if not known:
        raise TrainingError(f"{folder / RUN_FILE} has format {run['format']}; this version reads {FORMAT}")
    return run


def write_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Writes the description of the run, and its history as CSV."""
    replace_text(folder / RUN_FILE, json.dumps(run, indent=1) + "\n")
    write_csv(folder / HISTORY_FILE, HISTORY_COLUMNS, ([e[c] for c in HISTORY_COLUMNS] for e in run["history"]))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_text(path, text.getvalue())


def replace_text(path: Path, text: str) -> None:
    """Replaces a file atomically: readers see the old or the new content, also if this process is killed."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)
