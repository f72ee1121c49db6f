"""Classify labelled photos with a model bundle, by the same code that a worker runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import InputSpec, ModelBundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodeLimits, decode_image
from core.errors import EvaluationError, ImageError
from core.settings import Settings
from core.standard_error import silenced_stderr
from evaluation.truth import ClassFinder, LabelledPhoto, synsets_of

BATCH_SIZE = 8

Pixels = NDArray[np.uint8]
# Maps a file's bytes to those of the part of the picture that is to be classified.
Localizer = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Predictions:
    """A bundle's predictions for labelled photos.

    Attributes:
        photos: the photos that were classified; the model has their labels.
        truth: the number of the true class of each, shape (photos,).
        probabilities: shape (photos, labels).
        left_out: a sentence for each photo, or label, that is not in the figures.
    """

    bundle: ModelBundle
    photos: tuple[LabelledPhoto, ...]
    truth: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    left_out: tuple[str, ...]

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The number of the predicted class of each photo, shape (photos,)."""
        numbers: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return numbers


def decoder(spec: InputSpec, localize: Localizer | None = None) -> Callable[[Path], Pixels]:
    """Returns a function that decodes a photo's file to the model's input, as a worker with default settings does.

    The function raises `ImageError` if the photo cannot be decoded.
    """
    settings = Settings()
    limits = DecodeLimits(settings.max_image_bytes, settings.max_image_pixels, settings.max_aspect_ratio)

    def decode(path: Path) -> Pixels:
        try:
            body = path.read_bytes()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror}") from error
        if localize is not None:
            body = localize(body)
        return decode_image(body, height=spec.height, width=spec.width, limits=limits)

    return decode


def open_classifier(bundle: ModelBundle, interpreters: int) -> Classifier:
    """Opens a bundle's classifier without LiteRT's remarks on the processor.

    Raises:
        BundleError: the model cannot be run.
    """
    with silenced_stderr():
        return Classifier(bundle, interpreters=interpreters, top_k=1)


def predict(
    bundle: ModelBundle,
    photos: Sequence[LabelledPhoto],
    localize: Localizer | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Predictions:
    """Classifies the photos on all cores.

    Args:
        on_progress: called with the number of photos finished since the last call, from any thread.

    Raises:
        EvaluationError: no photo could be classified.
        BundleError: the model cannot be run.
    """
    finder = ClassFinder(bundle.labels, synsets_of(bundle))
    numbers = [finder.find(photo) for photo in photos]
    known = [(photo, number) for photo, number in zip(photos, numbers, strict=True) if number is not None]
    unknown = Counter(photo.label for photo, number in zip(photos, numbers, strict=True) if number is None)
    left_out = [
        f"{count} of {label!r}: {bundle.full_name} does not know that label" for label, count in unknown.items()
    ]

    cores = os.cpu_count() or 1
    classifier, decode = open_classifier(bundle, cores), decoder(bundle.input, localize)

    def classify(chunk: Sequence[tuple[LabelledPhoto, int]]) -> tuple[list[int], list[NDArray[np.float32]], list[str]]:
        pixels, positions, problems = [], [], []
        for position, (photo, _) in enumerate(chunk):
            try:
                pixels.append(decode(photo.path))
                positions.append(position)
            except ImageError as error:
                problems.append(f"{photo.name}: {error}")
        rows = list(classifier.probabilities(pixels)) if pixels else []
        on_progress(len(chunk))
        return positions, rows, problems

    chunks = [known[start : start + BATCH_SIZE] for start in range(0, len(known), BATCH_SIZE)]
    classified: list[tuple[LabelledPhoto, int]] = []
    probabilities: list[NDArray[np.float32]] = []
    with ThreadPoolExecutor(cores) as pool:
        for chunk, (positions, rows, problems) in zip(chunks, pool.map(classify, chunks), strict=True):
            classified += [chunk[position] for position in positions]
            probabilities += rows
            left_out += problems
    if not classified:
        raise EvaluationError(f"no photo could be evaluated with {bundle.full_name}: {'; '.join(left_out[:3])}")
    return Predictions(
        bundle,
        tuple(photo for photo, _ in classified),
        np.array([number for _, number in classified]),
        np.stack(probabilities),
        tuple(left_out),
    )
