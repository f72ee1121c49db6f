"""The common form of data sets: labelled images, some of which have a part of the split already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import TrainingError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

# WordNet's id of a noun, as ImageNet names its classes; Stanford Dogs adds the breed: n02085620-Chihuahua.
_SYNSET = re.compile(r"(n\d{8})(?:[-_ ]+(.+))?")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: a file (`path`) or pixels, uint8 RGB of shape (height, width, 3).

    Args:
        name: the image's name in reports; unique in its data set.
        label: index into the data set's labels.
        part: one of `PARTS`, if the data set assigns it.
        source: the data set in a mixture that the image is from.
    """

    name: str
    label: int
    part: str | None = None
    path: Path | None = None
    pixels: NDArray[np.uint8] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """Labelled images.  `labels` are in the order of a model's outputs, as are `synsets`, if all are known."""

    name: str
    labels: tuple[str, ...]
    synsets: tuple[str, ...] | None
    samples: tuple[Sample, ...]


def build_dataset(
    name: str, items: Iterable[tuple[str, str, str | None, Path]], names: dict[str, str] | None = None
) -> ImageDataset:
    """Makes a data set of files.

    Args:
        items: for each image its name, class, part and file.  Classes are sorted.
        names: readable names of classes that are named by synset ids.

    Raises:
        TrainingError: there are no images, or there is only one class.
    """
    found = list(items)
    classes = sorted({item[1] for item in found})
    require_classes(name, classes)
    index = {a_class: number for number, a_class in enumerate(classes)}
    samples = tuple(Sample(image, index[a_class], part, path) for image, a_class, part, path in found)
    synsets, labels = zip(*(_split_synset(a_class, names or {}) for a_class in classes), strict=True)
    # Two synsets may share a name (ImageNet has two cranes and two maillots); their labels have to differ.
    labels = tuple(
        f"{label} ({synset})" if labels.count(label) > 1 and synset else label
        for label, synset in zip(labels, synsets, strict=True)
    )
    return ImageDataset(name, labels, synsets if all(synsets) else None, samples)


def require_classes(name: str, classes: Sequence[str]) -> None:
    """Raises TrainingError unless there are at least two classes."""
    if not classes:
        raise TrainingError(f"{name} holds no images")
    if len(classes) == 1:
        raise TrainingError(f"{name} holds a single class, {classes[0]}; training needs at least two")


def require_trained(name: str, items: Sequence[tuple[str, str, str | None, Path]]) -> None:
    """Raises TrainingError if a class of `build_dataset`'s items has no image to train on."""
    trained = {a_class for _, a_class, part, _ in items if part in (None, TRAIN)}
    if unknown := sorted({a_class for _, a_class, _, _ in items} - trained):
        raise TrainingError(f"{name}: no training image of {', '.join(unknown[:5])}{' …' if unknown[5:] else ''}")


def _split_synset(a_class: str, names: dict[str, str]) -> tuple[str, str]:
    match = _SYNSET.fullmatch(a_class)
    if match is None:
        return "", names.get(a_class, a_class)
    return match[1], names.get(match[1], match[2] or match[1])
