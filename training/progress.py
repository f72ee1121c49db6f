"""Keras callbacks that show a training's progress on a terminal, and write it for TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress

from training.progress_bar import make_bar
from training.run_folder import TENSORBOARD_FOLDER


class Display(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows a progress bar for each epoch, and prints a line at its end."""

    def __init__(self, console: Console, epochs: int, batch_size: int) -> None:
        super().__init__()
        self._console = console
        self._epochs = epochs
        self._batch_size = batch_size
        self._bar: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()
        self._bar = bar = make_bar(self._console)
        self._task = bar.add_task(f"Epoch {epoch + 1}/{self._epochs}", total=self.params["steps"], text="")
        bar.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._bar is not None and not self._bar.disable:
            task = self._bar.tasks[0]
            speed = "" if task.speed is None else f", {task.speed * self._batch_size:.0f} images/s"
            text = f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}{speed}" if logs else ""
            self._bar.update(self._task, advance=1, text=text)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        elapsed = time.monotonic() - self._started
        self.close()
        values = logs or {}
        self._console.print(
            f"Epoch {epoch + 1:>3}/{self._epochs}: loss {values['loss']:.3f}, accuracy {values['accuracy']:.3f}; "
            f"validation: loss {values['val_loss']:.3f}, accuracy {values['val_accuracy']:.3f}; {elapsed:.0f} s",
            highlight=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        """Stops the bar and restores the terminal."""
        if self._bar is not None:
            self._bar.stop()


class EventFile(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes loss, accuracy and learning rate of each epoch as TensorBoard scalars, without graphs and histograms."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(folder / TENSORBOARD_FOLDER))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        scalars = {**(logs or {}), "learning_rate": self.model.optimizer.learning_rate}
        with self._writer.as_default(step=epoch + 1):
            for name, value in scalars.items():
                part, _, measure = name.rpartition("val_")
                tf.summary.scalar(f"{measure}/{'validation' if part or name.startswith('val_') else 'train'}", value)
        self._writer.flush()
