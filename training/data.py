"""Prepare a data set for training: read and decode it, leave out unreadable and duplicate images, split it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from core.errors import TrainingError
from training.config import TrainingConfig
from training.datasets import load_dataset
from training.datasets.samples import PARTS, TRAIN, ImageDataset, Sample
from training.inspection.pictures import choose_samples, draw_rows
from training.plots import draw_classes
from training.prepare import Pixels, find_duplicates, prepare
from training.progress_bar import make_bar
from training.run_folder import CLASSES_FILE, RUN_FILE, SAMPLES_FILE, SPLIT_FILE, write_csv
from training.split import split

# Random crops enlarge a part of an image, so they are taken from images somewhat larger than the input.
_CROP_MARGIN = 1.125
# Left-out images that the run's description names; of more it has only the number.
_MAX_NAMED = 100
# Left-out images that are printed as examples.
_MAX_PRINTED = 3
_THUMBNAIL_SIDE = 96


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Images in three parts: training, validation and test.

    Args:
        samples: the images kept, with `parts` (one of `PARTS` each) and `label_indices`.
        facts: the data set's section of the run's description.
    """

    labels: tuple[str, ...]
    synsets: tuple[str, ...] | None
    samples: tuple[Sample, ...]
    parts: NDArray[np.str_]
    label_indices: NDArray[np.int_]
    facts: dict[str, Any]
    _train: tuple[NDArray[np.uint8], NDArray[np.intp]]
    _others: tuple[NDArray[np.uint8], NDArray[np.intp]]

    def part(self, name: str) -> NDArray[np.intp]:
        """Indices into `samples` of a part's images."""
        return np.flatnonzero(self.parts == name)

    def pixels(self, part: str) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
        """The decoded images for a part, and for each of `samples` its row among them."""
        return self._train if part == TRAIN else self._others


def prepare_data(
    config: TrainingConfig, cache: Path, console: Console, dataset: ImageDataset | None = None
) -> TrainingData:
    """Decodes, checks and splits the data set of `config`; reports the images left out on `console`.

    Args:
        dataset: the data set, if it has been read already.

    Raises:
        TrainingError: there is no usable data set.
    """
    dataset = dataset or load_dataset(config.source_path, config.kind, cache, config.classes)
    side = round(config.side * _CROP_MARGIN) if "crop" in config.augment else config.side
    decoded = _decode(dataset.samples, side, cache, console, "Decoding")
    parts = [sample.part for sample in dataset.samples]
    duplicates = find_duplicates([sample.label for sample in dataset.samples], parts, decoded.digests)
    kept = np.array([i for i in range(len(parts)) if i not in duplicates and i not in decoded.unreadable], np.intp)
    samples = tuple(dataset.samples[index] for index in kept)
    labels = np.array([sample.label for sample in samples], np.int_)
    _require_every_class(dataset, labels)
    assigned = split(
        labels.tolist(),
        [sample.part for sample in samples],
        validation_share=config.validation_share,
        test_share=config.test_share,
        seed=config.seed,
    )
    others = (decoded.array, kept)
    if side != config.side:
        # Validation and test images are decoded as the worker does it, directly to the input's size.
        chosen = np.flatnonzero(assigned != TRAIN)
        rows = np.zeros(len(samples), np.intp)
        rows[chosen] = np.arange(len(chosen))
        exact = _decode([samples[index] for index in chosen], config.side, cache, console, "Decoding for validation")
        others = (exact.array, rows)
    facts = _facts(config, dataset, decoded, duplicates, assigned)
    _print_facts(facts, console)
    return TrainingData(
        dataset.labels, dataset.synsets, samples, assigned, labels, facts, (decoded.array, kept), others
    )


def require_same_data(run: dict[str, Any], data: TrainingData) -> None:
    """Checks that a run to be resumed has the same split: else images seen in training could be used for validation.

    Args:
        run: the description of the run to be resumed.

    Raises:
        TrainingError: the labels or the sizes of the parts differ.
    """
    sizes = {part: data.facts[part] for part in PARTS}
    if run["labels"] != list(data.labels) or any(run["dataset"][part] != size for part, size in sizes.items()):
        raise TrainingError(f"{run['dataset']['source']} has changed since the run began; start a new one")


def write_data(data: TrainingData, folder: Path) -> None:
    """Writes the split, the chart of the number of images in each class, and the contact sheet of samples."""
    names = [data.labels[index] for index in data.label_indices]
    synsets = ["" if data.synsets is None else data.synsets[index] for index in data.label_indices]
    paths = ["" if sample.path is None else str(sample.path.resolve()) for sample in data.samples]
    listed = zip((sample.name for sample in data.samples), paths, names, synsets, data.parts.tolist(), strict=True)
    write_csv(folder / SPLIT_FILE, ("name", "path", "label", "synset", "split"), list(listed))
    draw_classes(data.labels, data.label_indices.tolist(), data.parts.tolist(), folder / CLASSES_FILE)
    pixels, positions = data.pixels(TRAIN)
    rows = {
        data.labels[label]: [pixels[positions[index]] for index in chosen]
        for label, chosen in choose_samples(data.label_indices.tolist()).items()
    }
    title = f"{data.facts['name']}: samples of each class"
    draw_rows(rows, title, _THUMBNAIL_SIDE, folder / SAMPLES_FILE)


def _decode(samples: Sequence[Sample], side: int, cache: Path, console: Console, text: str) -> Pixels:
    with make_bar(console) as bar:
        task = bar.add_task(text, total=len(samples), text="")
        return prepare(samples, side, cache, lambda count: bar.update(task, advance=count))


def _require_every_class(dataset: ImageDataset, labels: NDArray[np.int_]) -> None:
    missing = [name for index, name in enumerate(dataset.labels) if index not in set(labels.tolist())]
    if missing:
        raise TrainingError(f"no usable image of {', '.join(missing[:5])} is left{' …' if missing[5:] else ''}")


def _facts(
    config: TrainingConfig,
    dataset: ImageDataset,
    decoded: Pixels,
    duplicates: dict[int, int],
    parts: NDArray[np.str_],
) -> dict[str, Any]:
    names = [sample.name for sample in dataset.samples]
    return {
        "name": dataset.name,
        "source": str(config.source_path.resolve()),
        "images": len(names),
        **{part: int(np.count_nonzero(parts == part)) for part in PARTS},
        "unreadable_count": len(decoded.unreadable),
        "unreadable": [{"name": names[i], "reason": r} for i, r in sorted(decoded.unreadable.items())[:_MAX_NAMED]],
        "duplicate_count": len(duplicates),
        "duplicates": [{"name": names[i], "of": names[other]} for i, other in sorted(duplicates.items())[:_MAX_NAMED]],
    }


def _print_facts(facts: dict[str, Any], console: Console) -> None:
    parts = ", ".join(f"{facts[part]:,} {part}" for part in PARTS if facts[part])
    lines = [f"{facts['name']}: {parts}"]
    for entries, count, key in (("unreadable", "unreadable_count", "reason"), ("duplicates", "duplicate_count", "of")):
        if facts[count]:
            shown = "; ".join(f"{entry['name']} ({entry[key]})" for entry in facts[entries][:_MAX_PRINTED])
            lines.append(f"Left out, {entries}: {facts[count]:,} images, such as {shown}.  {RUN_FILE} lists them.")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
