"""Run a distillation: cache the frozen layers' features of many views, train the other layers, write a run's folder."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from core.errors import TrainingError
from training import precision
from training.architectures import ARCHITECTURES
from training.checkpoints import CheckpointCallback, load_progress, restore
from training.config import NO_WEIGHTS
from training.datasets.samples import TRAIN, VALIDATION
from training.distillation.config import DistillationConfig
from training.distillation.loss import DistillationLoss, agreement
from training.distillation.photos import PhotoSet
from training.distillation.student import Student, divide
from training.distillation.teachers import Teacher
from training.distillation.view_datasets import ViewDatasets
from training.distillation.view_maker import ViewMaker
from training.optimizers import make_optimizer
from training.progress import Display, EventFile
from training.run_folder import FINISHED, FORMAT, RUNNING, SPLIT_FILE, STOPPED, write_csv
from training.run_record import store_run
from training.weights import initialize

METHOD = "distillation"
COVERAGE_FILE = "coverage.csv"


def cache_name(config: DistillationConfig, teacher: Teacher, photos: PhotoSet) -> str:
    """The name of the cache's folder: changes with what the features and logits depend on."""
    weights = Path(config.weights)
    stamp = weights.stat().st_mtime_ns if weights.is_file() else 0
    parts = (photos.digest, teacher.name, config.teacher, config.architecture, config.weights, stamp, config.side)
    text = "\t".join(map(str, (*parts, config.frozen_until, config.precision, config.seed)))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Distillation:
    """A distillation in `folder`, new or resumed.

    Args:
        config: with a `precision` other than ``auto``.
        photos: chosen by `config`.
        cache: the folder for features; needed until the run is finished.
    """

    def __init__(
        self,
        config: DistillationConfig,
        teacher: Teacher,
        photos: PhotoSet,
        folder: Path,
        cache: Path,
        console: Console,
    ) -> None:
        self._config = config
        self._architecture = ARCHITECTURES[config.architecture]
        self._teacher = teacher
        self._photos = photos
        self._folder = folder
        self._cache = cache
        self._console = console
        self._maker = ViewMaker(teacher, config.side, config.seed)
        self._progress, self._checkpoint = load_progress(folder)
        self._run: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Makes the views that are missing and trains the remaining epochs; returns the run's description.

        Raises:
            TrainingError: weights do not fit, a checkpoint is damaged, no photo can be read, or the loss is no longer a
                number.
        """
        config = self._config
        keras.utils.set_random_seed(config.seed + self._progress.epochs_done)
        student = self._build()
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = [(path.name, str(path), "", "", TRAIN) for path in self._photos.train]
        write_csv(self._folder / SPLIT_FILE, ("name", "path", "label", "synset", "split"), rows)
        self._run = self._describe(student)
        self._store(RUNNING)
        try:
            source = ViewDatasets(
                config, self._architecture, self._photos, self._maker, self._console, self._write_coverage
            )
            done = self._progress.epochs_done
            datasets = source.fresh(done) if student.trunk is None else source.cached(student, self._cache, done)
            self._run["dataset"] |= self._unreadable()
            self._store(RUNNING)
            self._fit(student, *datasets)
        except BaseException:
            self._store(STOPPED)
            raise
        best = self._progress.history[self._progress.best_epoch - 1]
        self._run[VALIDATION] = {"images": len(self._photos.validation), "agreement": round(best["val_accuracy"], 5)}
        self._store(FINISHED)
        return self._run

    def _build(self) -> Student:
        config = self._config
        precision.use("float32")
        network = self._architecture.build(config.side, len(self._teacher.labels), 0.0)
        initialized = set() if config.weights == NO_WEIGHTS else initialize(network, Path(config.weights))
        student = divide(network, config.frozen_until, precision.POLICIES[config.precision])
        if student.trunk is not None:
            new = {layer.name for layer in student.trunk.layers if layer.weights} - initialized
            if new:
                raise TrainingError(
                    f"{config.weights} has no weights for {', '.join(sorted(new)[:3])}, which would be frozen: "
                    "choose an earlier layer with --frozen-until"
                )
        return student

    def _fit(self, student: Student, training: tf.data.Dataset, validation: tf.data.Dataset) -> None:
        config, done = self._config, self._progress.epochs_done
        if done >= config.epochs:
            return
        head = student.head
        steps = config.steps_per_epoch
        optimizer = make_optimizer(config, head, (), epochs=config.epochs, steps_per_epoch=steps)
        loss = DistillationLoss(config.regression_weight)
        agrees = keras.metrics.MeanMetricWrapper(agreement, name="accuracy")
        head.compile(optimizer, loss, metrics=[agrees])
        if self._checkpoint is not None:
            restore(self._checkpoint, head, optimizer=True)
        fade = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: loss.regression_weight.assign(config.regression_weight_at(epoch))
        )
        checkpoints = CheckpointCallback(
            self._folder, self._progress, student.updated, on_saved=lambda: self._store(RUNNING)
        )
        display = Display(self._console, config.epochs, config.batch_size)
        self._print_start(head)
        with contextlib.closing(display):
            head.fit(
                training,
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=config.epochs,
                validation_data=validation,
                verbose=0,
                shuffle=False,
                callbacks=[fade, keras.callbacks.TerminateOnNaN(), display, EventFile(self._folder), checkpoints],
            )

    def _describe(self, student: Student) -> dict[str, Any]:
        photos, teacher = self._photos, self._teacher
        names = [Path(source).name for source in self._config.photos]
        return {
            "format": FORMAT,
            "method": METHOD,
            "architecture": self._architecture.name,
            "labels": list(teacher.labels),
            "synsets": list(teacher.synsets) or None,
            "input": self._architecture.input_fields(self._config.side),
            "teacher": teacher.name,
            "dataset": {
                "name": ", ".join(names),
                "digest": photos.digest,
                TRAIN: len(photos.train),
                VALIDATION: len(photos.validation),
                "near_duplicate_count": len(photos.near_duplicates),
            },
            "seed": self._config.seed,
            "precision": self._config.precision,
            "hyperparameters": self._config.fields(),
            "parameters": student.network.count_params(),
            "trained_parameters": student.head.count_params(),
            VALIDATION: None,
            "versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        }

    def _write_coverage(self, counts: NDArray[np.int64]) -> None:
        """Writes the number of sure views of each class, fewest first."""
        labels, synsets = self._teacher.labels, self._teacher.synsets or [""] * len(self._teacher.labels)
        rows = [(int(counts[row]), labels[row], synsets[row]) for row in np.argsort(counts, kind="stable")]
        write_csv(self._folder / COVERAGE_FILE, ("sure_views", "label", "synset"), rows)

    def _unreadable(self) -> dict[str, Any]:
        found = sorted(self._maker.unreadable.items())
        if found:
            path, reason = found[0]
            self._console.print(
                f"Left out, unreadable: {len(found):,} photos, such as {path.name} ({reason})",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        return {
            "unreadable_count": len(found),
            "unreadable": [{"name": path.name, "reason": reason} for path, reason in found[:100]],
        }

    def _store(self, status: str) -> None:
        store_run(self._folder, self._run, self._progress, status)

    def _print_start(self, head: keras.Model) -> None:
        done = f", {self._progress.epochs_done} epochs done" if self._progress.epochs_done else ""
        self._console.print(
            f"{self._architecture.name}: {head.count_params():,} of {self._run['parameters']:,} weights are trained, "
            f"{self._config.precision}{done}; accuracy is agreement with {self._teacher.name}",
            highlight=False,
            soft_wrap=True,
        )
