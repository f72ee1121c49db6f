"""Select some classes of a data set: the first few, or by name."""

from __future__ import annotations

import difflib
from dataclasses import replace

from core.errors import TrainingError
from training.datasets.samples import ImageDataset, require_classes

# Similar classes that an error message names.
_MAX_SHOWN = 3


def select_classes(dataset: ImageDataset, classes: str) -> ImageDataset:
    """Keeps some classes of a data set, in their order, with their images.

    Args:
        classes: the number of first classes, or labels or synsets separated by commas; empty: all classes.

    Raises:
        TrainingError: there is no such class, or fewer than two are left.
    """
    if not classes.strip():
        return dataset
    kept = _numbers(dataset, classes)
    labels = tuple(dataset.labels[number] for number in kept)
    require_classes(f"--classes {classes} of {dataset.name}", labels)
    places = {number: place for place, number in enumerate(kept)}
    return replace(
        dataset,
        labels=labels,
        synsets=None if dataset.synsets is None else tuple(dataset.synsets[number] for number in kept),
        samples=tuple(
            replace(sample, label=places[sample.label]) for sample in dataset.samples if sample.label in places
        ),
    )


def _numbers(dataset: ImageDataset, classes: str) -> list[int]:
    if classes.strip().isdecimal():
        count = int(classes)
        if count > len(dataset.labels):
            raise TrainingError(f"--classes {count}: {dataset.name} has {len(dataset.labels)} classes")
        return list(range(count))
    by_name = {_key(label): number for number, label in enumerate(dataset.labels)}
    by_name |= {synset: number for number, synset in enumerate(dataset.synsets or ())}
    found = []
    for name in filter(None, (part.strip() for part in classes.split(","))):
        if _key(name) not in by_name:
            close = [key for key in by_name if _key(name) in key] or difflib.get_close_matches(_key(name), by_name)
            advice = (
                f"; similar ones: {', '.join(dataset.labels[by_name[key]] for key in close[:_MAX_SHOWN])}"
                if close
                else ""
            )
            raise TrainingError(f"--classes: {dataset.name} has no class {name}{advice}")
        found.append(by_name[_key(name)])
    return sorted(set(found))


def _key(label: str) -> str:
    return label.replace("_", " ").strip().casefold()
