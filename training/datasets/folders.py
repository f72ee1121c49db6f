"""Read data sets with a folder for each class, optionally below ``train``, ``val`` and ``test``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.formats import FILE_ENDINGS
from training.datasets.samples import TEST, TRAIN, VALIDATION, ImageDataset, build_dataset, require_trained

IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in FILE_ENDINGS)
PART_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
# Lines of synset, tab, names, in the format of ImageNet and Tiny-ImageNet.
NAMES_FILE = "words.txt"


def read_folders(root: Path) -> ImageDataset:
    """Reads ``root/class/…`` or ``root/train/class/…`` (with ``val``, ``test``); class folders are read recursively.

    Raises:
        TrainingError: there are no images, or a class has no training images.
    """
    folders = _folders(root)
    by_part = [(PART_FOLDERS.get(folder.name.lower()), folder) for folder in folders]
    if folders and all(part for part, _ in by_part):
        items = [item for part, folder in by_part for item in _images(root, folder, part)]
    else:
        items = list(_images(root, root, None))
    require_trained(str(root), items)
    return build_dataset(root.resolve().name, items, read_names(root / NAMES_FILE))


def read_names(path: Path) -> dict[str, str]:
    """Reads the names of synsets, the first of several synonyms; empty if the file does not exist."""
    if not path.is_file():
        return {}
    lines = (line.split("\t", 1) for line in path.read_text("utf-8").splitlines() if "\t" in line)
    return {synset: names.split(",")[0].strip() for synset, names in lines}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(root: Path, above: Path, part: str | None) -> Iterator[tuple[str, str, str | None, Path]]:
    for folder in _folders(above):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield path.relative_to(root).as_posix(), folder.name, part, path
