"""Teachers: models whose answers a student learns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import InputSpec, load_bundle
from core.bundle_manifest import MANIFEST_FILE
from evaluation.predictions import open_classifier
from evaluation.truth import synsets_of
from training.distillation.teacher_folder import check_teacher
from training.export import float_probabilities
from training.trained_run import TrainedRun

# Probabilities below it are no knowledge, and their logarithms would dominate a square error.
_SMALLEST_PROBABILITY = 1e-12
_CHUNK = 8


class Teacher(Protocol):
    """A classifier with its labels and its input."""

    name: str
    labels: tuple[str, ...]
    synsets: tuple[str, ...]
    input: InputSpec

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The probability of each label, shape (images, labels), for uint8 RGB images of the input's size."""
        ...


class BundleTeacher:
    """A model bundle, run on all cores as a worker runs it."""

    def __init__(self, folder: Path) -> None:
        bundle = load_bundle(folder)
        cores = os.cpu_count() or 1
        self.name, self.labels, self.synsets, self.input = (
            bundle.full_name,
            bundle.labels,
            synsets_of(bundle),
            bundle.input,
        )
        self._classifier = open_classifier(bundle, cores)
        self._pool = ThreadPoolExecutor(cores)

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Teacher.probabilities`."""
        chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
        return np.concatenate(list(self._pool.map(self._classifier.probabilities, chunks)))


class RunTeacher:
    """The best epoch of a training run, run by Keras: on a GPU, where there is one."""

    def __init__(self, folder: Path) -> None:
        run = TrainedRun.read(folder)
        self.name = f"{run.fields['architecture']} of {folder.name}"
        self.labels = tuple(run.fields["labels"])
        self.synsets = tuple(run.fields.get("synsets") or ())
        self.input = run.input_spec()
        self._model: Any = run.load_model()

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """See `Teacher.probabilities`."""
        return float_probabilities(self._model, images, self.input)


def open_teacher(folder: Path) -> Teacher:
    """Opens the teacher in a folder: a model bundle's or a training run's.

    Raises:
        TrainingError: it is neither.
        BundleError: the bundle cannot be used.
        ExportError: the run cannot be used.
    """
    check_teacher(folder)
    if (folder / MANIFEST_FILE).is_file():
        return BundleTeacher(folder)
    return RunTeacher(folder)


def centred_logits(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits that give these probabilities and whose mean is 0, both of shape (images, labels)."""
    logits = np.log(np.maximum(probabilities, np.float32(_SMALLEST_PROBABILITY)))
    centred: NDArray[np.float32] = logits - logits.mean(axis=1, keepdims=True)
    return centred
