"""Read ``.lst`` manifests, as MXNet's im2rec writes them: lines of index, label and path, separated by tabs."""

from __future__ import annotations

from pathlib import Path

from core.errors import TrainingError
from training.datasets.samples import ImageDataset, build_dataset

# The names of numeric labels, one a line, in the manifest's folder.
LABELS_FILE = "labels.txt"
# Invalid lines that an error message shows.
_MAX_SHOWN = 3


def read_manifest(path: Path) -> ImageDataset:
    """Reads a manifest; paths are relative to its folder.  Numeric labels are named by `LABELS_FILE` if it exists.

    Raises:
        TrainingError: a line does not have three columns, or a path leads out of the folder.
    """
    root = path.parent.resolve()
    items: list[tuple[str, str, str | None, Path]] = []
    mistakes: list[str] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 3:
            mistakes.append(f"line {number} has {len(columns)} columns instead of three (index, label, path)")
        elif not (image := (root / columns[2]).resolve()).is_relative_to(root):
            mistakes.append(f"line {number} leads out of the manifest's folder: {columns[2]}")
        else:
            items.append((columns[2], _label(columns[1]), None, image))
    if mistakes:
        more = f" and {len(mistakes) - _MAX_SHOWN} more" if mistakes[_MAX_SHOWN:] else ""
        raise TrainingError(f"{path}: {'; '.join(mistakes[:_MAX_SHOWN])}{more}")
    return build_dataset(path.stem, items, _names(path.parent / LABELS_FILE))


def _label(text: str) -> str:
    """The label as a class name: numbers, which im2rec writes as 7.000000, become ``0007``, to sort as numbers."""
    try:
        return f"{int(float(text)):04d}"
    except ValueError:
        return text.strip()


def _names(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {f"{number:04d}": name.strip() for number, name in enumerate(path.read_text("utf-8").splitlines())}
