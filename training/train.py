"""Run a training: build the network, fit it in stages, score the best epoch, write the run's folder."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from core.errors import TrainingError
from training import precision
from training.architectures import ARCHITECTURES, Architecture
from training.augment import Augment, make_augment
from training.checkpoints import CheckpointCallback, load_progress, restore
from training.config import IMAGENET, NO_WEIGHTS, TrainingConfig
from training.data import TrainingData
from training.datasets.samples import TEST, TRAIN, VALIDATION
from training.optimizers import make_optimizer
from training.pipeline import make_batches
from training.progress import Display, EventFile
from training.run_folder import FINISHED, FORMAT, MODEL_FILE, RUNNING, STOPPED
from training.run_record import store_run
from training.source_prior import SourcePriorCrossentropy, SourcePriors, accuracy, log_priors
from training.weights import initialize

_SCORED_BATCH = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """Epochs from `first` up to, but without, `end`, counted from 0; `frozen`: only new layers are trained."""

    first: int
    end: int
    frozen: bool


def plan_stages(epochs: int, frozen_epochs: int) -> list[Stage]:
    """Plans the stages: first only new layers, so that their random weights do not disturb the others; then all."""
    stages = [Stage(0, frozen_epochs, True), Stage(frozen_epochs, epochs, False)]
    return [stage for stage in stages if stage.first < stage.end]


def frozen_layers(ordered: Sequence[str], stage: Stage, unfreeze: float) -> set[str]:
    """Chooses the layers that a stage leaves as they are.

    Args:
        ordered: the layers with initial weights, from the input to the output.
        unfreeze: see `TrainingConfig`.
    """
    return set(ordered if stage.frozen else ordered[: round((1 - unfreeze) * len(ordered))])


def _priors(data: TrainingData) -> SourcePriors | None:
    """The class priors of each training image's source; None if there is only one source."""
    train = set(data.part(TRAIN).tolist())
    # Validation and test images are scored as in service, without priors.
    sources = [sample.source if index in train else "" for index, sample in enumerate(data.samples)]
    if len(set(sources) - {""}) < 2:
        return None
    return log_priors(data.label_indices.tolist(), sources, len(data.labels))


class Training:
    """A training in `folder`, new or resumed.

    Args:
        config: with a `precision` other than ``auto``.
        data: prepared for `config`.
        scored: the parts of the data set on which the best epoch is scored at the end.
        after_epoch: called with each epoch's entry of the history, after it is stored; may raise an exception that ends
            the training.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: TrainingData,
        folder: Path,
        console: Console,
        *,
        scored: Collection[str] = (VALIDATION, TEST),
        after_epoch: Callable[[dict[str, float]], None] = lambda entry: None,
    ) -> None:
        self._config = config
        self._architecture: Architecture = ARCHITECTURES[config.architecture]
        self._data = data
        self._folder = folder
        self._console = console
        self._progress, self._checkpoint = load_progress(folder)
        self._run: dict[str, Any] = {}
        self._priors = _priors(data)
        self._scored = scored
        self._after_epoch = after_epoch

    def run(self) -> dict[str, Any]:
        """Trains the remaining epochs and scores the best model; returns the run's description.

        Raises:
            TrainingError: weights do not fit, a checkpoint is damaged, or the loss is no longer a number.
        """
        keras.utils.set_random_seed(self._config.seed + self._progress.epochs_done)
        model, twin, initialized = self._build()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = self._describe(model)
        self._store(RUNNING)
        self._print_start(initialized)
        events = EventFile(self._folder)
        try:
            for stage in plan_stages(self._config.epochs, self._frozen_epochs(model, initialized)):
                if self._progress.epochs_done < stage.end and not self._is_stuck():
                    self._fit(stage, model, twin, initialized, events)
        except BaseException:
            self._store(STOPPED)
            raise
        if self._is_stuck():
            done, best, patience = self._progress.epochs_done, self._progress.best_epoch, self._config.patience
            self._print(
                f"Stopped after epoch {done} of {self._config.epochs}: in {patience} epochs, the validation accuracy "
                f"was not above that of epoch {best} (--patience)."
            )
        self._run |= self._score()
        self._store(FINISHED)
        return self._run

    def _build(self) -> tuple[keras.Model, keras.Model, set[str]]:
        """Builds the network in the configured precision and in float32; returns both, and its initialized layers."""
        config = self._config
        classes = len(self._data.labels)
        precision.use("float32")
        twin = self._architecture.build(config.side, classes, config.dropout, config.weights == IMAGENET)
        if config.weights == IMAGENET:
            initialized = {layer.name for layer in twin.layers if layer.weights and layer.name != "labels"}
        else:
            initialized = set() if config.weights == NO_WEIGHTS else initialize(twin, Path(config.weights))
        precision.use(config.precision)
        model = self._architecture.build(config.side, classes, config.dropout)
        precision.use("float32")
        model.set_weights(twin.get_weights())
        # Keras numbers some layers' names, so the twin's names may differ; the order is the same.
        pairs = zip(twin.layers, model.layers, strict=True)
        return model, twin, {ours.name for theirs, ours in pairs if theirs.name in initialized}

    def _fit(
        self, stage: Stage, model: keras.Model, twin: keras.Model, initialized: set[str], events: EventFile
    ) -> None:
        config, done = self._config, self._progress.epochs_done
        ordered = [layer.name for layer in model.layers if layer.name in initialized]
        frozen = frozen_layers(ordered, stage, config.unfreeze)
        for layer in model.layers:
            layer.trainable = layer.name not in frozen
        if not model.trainable_variables:
            raise TrainingError("--unfreeze 0 leaves no layer to train: all have initial weights")
        steps = max(1, len(self._data.part(TRAIN)) // config.batch_size)
        optimizer = make_optimizer(config, model, initialized, epochs=stage.end - stage.first, steps_per_epoch=steps)
        if self._priors is None:
            loss = keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing)
            model.compile(optimizer, loss, metrics=[keras.metrics.CategoricalAccuracy("accuracy")])
        else:
            model.compile(optimizer, SourcePriorCrossentropy(config.label_smoothing), metrics=[accuracy])
        if self._checkpoint is not None:
            restore(self._checkpoint, model, optimizer=done > stage.first)
            # The next stage continues with this stage's weights.
            self._checkpoint = None
        seed = config.seed + done
        display = Display(self._console, config.epochs, config.batch_size)

        def float_model() -> keras.Model:
            twin.set_weights(model.get_weights())
            return twin

        checkpoints = CheckpointCallback(self._folder, self._progress, float_model, self._after_saving, self._is_stuck)
        with contextlib.closing(display):
            model.fit(
                self._batches(TRAIN, make_augment(config.augment, config.side, seed), seed),
                initial_epoch=done,
                epochs=stage.end,
                validation_data=self._batches(VALIDATION),
                verbose=0,
                shuffle=False,
                callbacks=[keras.callbacks.TerminateOnNaN(), display, events, checkpoints],
            )

    def _frozen_epochs(self, model: keras.Model, initialized: set[str]) -> int:
        """The number of frozen epochs; 0 if all layers are new, or none is."""
        new = {layer.name for layer in model.layers if layer.trainable_weights} - initialized
        if not (initialized and new):
            return 0
        # Nothing changes after them: one schedule of the learning rate is enough.
        return self._config.epochs if self._config.unfreeze == 0 else self._config.frozen_epochs

    def _after_saving(self) -> None:
        self._store(RUNNING)
        self._after_epoch(self._progress.history[-1])

    def _is_stuck(self) -> bool:
        return self._progress.is_stuck(self._config.patience, self._config.extended_from)

    def _batches(self, part: str, augment: Augment | None = None, shuffle_seed: int | None = None) -> tf.data.Dataset:
        pixels, rows = self._data.pixels(part)
        chosen = self._data.part(part)
        return make_batches(
            pixels,
            rows[chosen],
            self._data.label_indices[chosen],
            self._architecture,
            len(self._data.labels),
            self._config.batch_size if part == TRAIN else _SCORED_BATCH,
            priors=None if self._priors is None else replace(self._priors, rows=self._priors.rows[chosen]),
            augment=augment,
            shuffle_seed=shuffle_seed,
        )

    def _score(self) -> dict[str, Any]:
        """The best model's figures on the validation and test parts."""
        model = keras.models.load_model(self._folder / MODEL_FILE, compile=False)
        return {
            part: score(self._data.label_indices[self._data.part(part)], model.predict(self._batches(part), verbose=0))
            for part in self._scored
            if len(self._data.part(part))
        }

    def _describe(self, model: keras.Model) -> dict[str, Any]:
        data = self._data
        return {
            "format": FORMAT,
            "architecture": self._architecture.name,
            "labels": list(data.labels),
            "synsets": None if data.synsets is None else list(data.synsets),
            "input": self._architecture.input_fields(self._config.side),
            "dataset": data.facts,
            "seed": self._config.seed,
            "precision": self._config.precision,
            "hyperparameters": self._config.fields(),
            "parameters": model.count_params(),
            VALIDATION: None,
            TEST: None,
            "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        }

    def _store(self, status: str) -> None:
        store_run(self._folder, self._run, self._progress, status)

    def _print_start(self, initialized: set[str]) -> None:
        layers = f", {len(initialized)} layers initialized" if initialized else ""
        done = f", {self._progress.epochs_done} epochs done" if self._progress.epochs_done else ""
        self._print(
            f"{self._architecture.name}: {self._run['parameters']:,} weights{layers}, {self._config.precision}{done}"
        )

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def score(labels: NDArray[np.int_], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Computes accuracy, and the macro averages of precision, recall and F1.

    Args:
        labels: the true classes, shape (n,).
        probabilities: shape (n, classes).
    """
    predicted = probabilities.argmax(axis=1)
    precision_, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    figures = {"accuracy": accuracy_score(labels, predicted), "precision": precision_, "recall": recall, "f1": f1}
    return {"images": len(labels)} | {name: round(float(value), 5) for name, value in figures.items()}
