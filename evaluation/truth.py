"""Read labelled photos (ground truth), and find a label's class in a model."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from api_client.image_files import collect
from app_tier.bundle import ModelBundle
from core.bundle_manifest import MANIFEST_FILE
from core.errors import EvaluationError

# A class's folder in Stanford Dogs: n02110185-Siberian_husky.
_SYNSET_AND_NAME = re.compile(r"(n\d{8})-(.+)")
FILE, LABEL, SYNSET = "file", "label", "synset"


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo, its name in reports, and its true label; ImageNet's synset (``n02099601``) if it is known."""

    path: Path
    name: str
    label: str
    synset: str = ""


def read_truth(images: Path, truth: Path | None) -> tuple[list[LabelledPhoto], list[str]]:
    """Reads the labelled photos of a folder; returns them, and a sentence for each without a label or file.

    Args:
        images: the folder of the photos.
        truth: a CSV file with the column `file`, relative to `images`, and `label` or `synset`.  Without it, the
            folder directly below `images` is a photo's label, or its synset, or both as ``n02110185-Siberian_husky``.

    Raises:
        EvaluationError: there is nothing to evaluate, or the CSV file lacks its columns.
        NoPhotosError: there is no image in the folder.
    """
    if truth is None:
        photos, problems = _by_folder(images)
    else:
        photos, problems = _by_list(images, truth)
    if not photos:
        raise EvaluationError(
            f"no photo in {images} has a label: give a CSV file with --truth, or put the photos into a folder per class"
        )
    return photos, problems


def _by_folder(images: Path) -> tuple[list[LabelledPhoto], list[str]]:
    photos, problems = [], []
    for path in collect([images])[0]:
        parts = path.relative_to(images).parts if images.is_dir() else ()
        if len(parts) < 2:
            problems.append(f"{path.name}: is not in a folder that would be its label")
        else:
            match = _SYNSET_AND_NAME.fullmatch(parts[0])
            synset, label = (match[1], match[2]) if match else ("", parts[0])
            photos.append(LabelledPhoto(path, "/".join(parts), label, synset))
    return photos, problems


def _by_list(images: Path, truth: Path) -> tuple[list[LabelledPhoto], list[str]]:
    try:
        with truth.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{truth} cannot be read: {error}") from error
    if FILE not in columns or not columns & {LABEL, SYNSET}:
        raise EvaluationError(f"{truth} needs the columns {FILE} and {LABEL} (or {SYNSET}) in its first line")
    photos, problems = [], []
    for row in rows:
        name, label, synset = ((row.get(column) or "").strip() for column in (FILE, LABEL, SYNSET))
        path = images / name
        if not (label or synset):
            problems.append(f"{name}: has no label in {truth.name}")
        elif not path.is_file():
            problems.append(f"{name}: is listed in {truth.name}, but is not in {images}")
        else:
            photos.append(LabelledPhoto(path, name, label or synset, synset))
    return photos, problems


class ClassFinder:
    """Finds the class of a photo's true label in a model.

    A synset is preferred, if the bundle has them.  In labels, ``_`` and a space are equal; case is ignored only if
    that is unambiguous, since ImageNet has both the Cardigan, a dog, and the cardigan.
    """

    def __init__(self, labels: Sequence[str], synsets: Sequence[str] = ()) -> None:
        self._synsets = {synset: number for number, synset in enumerate(synsets)}
        self._exact = _unambiguous((_spaced(label), number) for number, label in enumerate(labels))
        self._folded = _unambiguous((_spaced(label).casefold(), number) for number, label in enumerate(labels))

    def find(self, photo: LabelledPhoto) -> int | None:
        """The number of the photo's class, or None if the model does not have it."""
        label = _spaced(photo.label)
        candidates = (
            self._synsets.get(photo.synset),
            self._synsets.get(photo.label),
            self._exact.get(label),
            self._folded.get(label.casefold()),
        )
        return next((number for number in candidates if number is not None), None)


def synsets_of(bundle: ModelBundle) -> tuple[str, ...]:
    """The synset of each label, in the labels' order; empty if the bundle has none."""
    manifest = json.loads((bundle.folder / MANIFEST_FILE).read_text("utf-8"))
    synsets = tuple(map(str, manifest.get("synsets") or ()))
    return synsets if len(synsets) == len(bundle.labels) else ()


def _spaced(label: str) -> str:
    return label.replace("_", " ").strip()


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    twice = set()
    for key, number in pairs:
        if key in found:
            twice.add(key)
        found[key] = number
    return {key: number for key, number in found.items() if key not in twice}
