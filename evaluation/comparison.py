"""Compare models on the photos whose labels all of them have, by the labels' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.predictions import Predictions
from evaluation.truth import ClassFinder, LabelledPhoto, synsets_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model beside the first one, on the photos that all models classified.

    Attributes:
        images: the number of these photos; a photo is left out where a model does not have its label.
        accuracy: the model's share of right answers; None without photos.
        agreement: the share of photos with the first model's answer; None without photos.
        labels: how many of the first model's labels the model has.
    """

    images: int
    accuracy: float | None
    agreement: float | None
    labels: int


def compare(predictions: Sequence[Predictions]) -> list[Comparison]:
    """Compares each model with the first."""
    shared = set.intersection(*({photo.path for photo in each.photos} for each in predictions))
    first = predictions[0]
    first_rows = _rows(first, shared)
    comparisons = []
    for each in predictions:
        rows, translated = _rows(each, shared), _translation(first, each)
        answers = each.predicted[rows]
        comparisons.append(
            Comparison(
                images=len(rows),
                accuracy=_share(answers == each.truth[rows]),
                agreement=_share(answers == translated[first.predicted[first_rows]]),
                labels=int((translated >= 0).sum()),
            )
        )
    return comparisons


def _rows(predictions: Predictions, shared: set[Path]) -> NDArray[np.intp]:
    """The rows of the shared photos, in an order that all models have."""
    rows = [number for number, photo in enumerate(predictions.photos) if photo.path in shared]
    return np.array(sorted(rows, key=lambda number: predictions.photos[number].path), np.intp)


def _translation(first: Predictions, other: Predictions) -> NDArray[np.intp]:
    """The number in `other` of each of the first model's labels, -1 where it does not have it."""
    finder = ClassFinder(other.bundle.labels, synsets_of(other.bundle))
    synsets = synsets_of(first.bundle) or ("",) * len(first.bundle.labels)
    found = (
        finder.find(LabelledPhoto(first.bundle.folder, "", label, synset))
        for label, synset in zip(first.bundle.labels, synsets, strict=True)
    )
    return np.array([-1 if number is None else number for number in found], np.intp)


def _share(true: NDArray[np.bool_]) -> float | None:
    return round(float(true.mean()), 4) if true.size else None
