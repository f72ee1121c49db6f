"""Save a training's best model and checkpoints, restore them, and decide on early stopping."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from core.errors import TrainingError
from training.run_folder import CHECKPOINTS_FOLDER, MODEL_FILE

_EPOCH_FOLDER = re.compile(r"epoch-(\d+)")


class DivergedError(TrainingError):
    """The loss is no longer a number."""


@dataclass(slots=True)
class Progress:
    """The completed epochs of a training, counted from 1, and the best of them."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_accuracy: float = -1.0

    @property
    def epochs_done(self) -> int:
        """How many epochs are complete."""
        return len(self.history)

    def add(self, entry: dict[str, float]) -> bool:
        """Adds an epoch; returns whether it is the best so far."""
        self.history.append(entry)
        if entry["val_accuracy"] <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy = self.epochs_done, entry["val_accuracy"]
        return True

    def is_stuck(self, patience: int, since: int = 0) -> bool:
        """Whether the last `patience` epochs (0: never) have not improved the validation accuracy.

        Args:
            since: only epochs after this one count.
        """
        return bool(patience) and self.epochs_done - max(self.best_epoch, since) >= patience


class CheckpointCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the best model and a checkpoint after each epoch, in this order, each atomically.

    Args:
        float_model: returns the network in float32, with the weights of the one that is trained: it is saved, since
            evaluation and export need no other precision.
        on_saved: called after both are saved.
        is_stuck: whether the training is to stop after the epoch that was added to `progress`.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        float_model: Callable[[], keras.Model],
        on_saved: Callable[[], None],
        is_stuck: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._progress = progress
        self._float_model = float_model
        self._is_stuck = is_stuck
        self._on_saved = on_saved
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {key: float(value) for key, value in (logs or {}).items()}
        if not math.isfinite(values["loss"]):
            raise DivergedError(
                f"the loss is no longer a number in epoch {epoch + 1}; try a smaller --learning-rate, or --clip-norm"
            )
        entry = {
            "epoch": epoch + 1,
            "learning_rate": float(np.asarray(self.model.optimizer.learning_rate)),
            **{key: values[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy")},
            "seconds": round(time.monotonic() - self._started, 1),
        }
        if self._progress.add(entry):
            save_model(self._float_model(), self._folder / MODEL_FILE)
        save_checkpoint(self._folder, self.model, self._progress)
        self._on_saved()
        if self._is_stuck():
            self.model.stop_training = True


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model atomically, without an optimizer."""
    part = path.with_name(f".part-{path.name}")
    model.save(part, include_optimizer=False)
    part.replace(path)


def save_checkpoint(folder: Path, model: keras.Model, progress: Progress) -> None:
    """Saves weights, the optimizer's state and the progress as ``checkpoints/epoch-…``; deletes the previous one."""
    checkpoints = folder / CHECKPOINTS_FOLDER
    part = checkpoints / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.savez(part / "model.npz", *model.get_weights())
    np.savez(part / "optimizer.npz", *(np.asarray(variable) for variable in model.optimizer.variables))
    (part / "progress.json").write_text(json.dumps(asdict(progress)), "utf-8")
    complete = checkpoints / f"epoch-{progress.epochs_done:04d}"
    part.rename(complete)
    for old in checkpoints.glob("epoch-*"):
        if old != complete:
            shutil.rmtree(old)


def load_progress(folder: Path) -> tuple[Progress, Path | None]:
    """Reads the progress of the newest checkpoint; returns it with the folder, or no progress and None."""
    found = [path for path in (folder / CHECKPOINTS_FOLDER).glob("epoch-*") if _EPOCH_FOLDER.fullmatch(path.name)]
    if not found:
        return Progress(), None
    newest = max(found)
    try:
        return Progress(**json.loads((newest / "progress.json").read_text("utf-8"))), newest
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"the checkpoint {newest} cannot be read: {error}") from error


def restore(checkpoint: Path, model: keras.Model, *, optimizer: bool) -> None:
    """Restores a compiled model's weights from a checkpoint, and with `optimizer` its optimizer's state.

    Raises:
        TrainingError: the checkpoint is damaged, or of another network.
    """
    try:
        model.set_weights(_arrays(checkpoint / "model.npz"))
        if optimizer:
            model.optimizer.build(model.trainable_variables)
            for variable, array in zip(model.optimizer.variables, _arrays(checkpoint / "optimizer.npz"), strict=True):
                variable.assign(array)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"the checkpoint {checkpoint} cannot be used: {error}") from error


def _arrays(path: Path) -> list[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
