"""Read ``.lst`` manifests: lists of images, alone or as a pair for training and test (or a fold of one).

A line has index, label and path, separated by tabs, as MXNet's im2rec writes it, or only a path below the folder of its
class.
"""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import TrainingError
from training.datasets.samples import TEST, TRAIN, VALIDATION, ImageDataset, build_dataset, require_trained

# The names of numeric labels, one a line, in the manifest's folder.
LABELS_FILE = "labels.txt"
# Invalid lines, and images in two lists, that an error message shows.
_MAX_SHOWN = 3
# Of X_train.lst, X_0_train.lst, train-fold1.lst, fold1.train.lst: what is before the part's word, the word, the rest.
_PART_NAME = re.compile(r"(|.*[^a-z])(train|test|val|valid|validation)((?:[^a-z].*)?)\.lst", re.IGNORECASE)
_PARTS = {"train": TRAIN, "test": TEST, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION}

_Item = tuple[str, str, str | None, Path]


def read_manifest(path: Path) -> ImageDataset:
    """Reads a manifest, or a set of them: with ``X_train.lst``, also ``X_test.lst`` and ``X_val.lst`` beside it.

    Paths are relative to the manifest's folder.  Numeric labels are named by `LABELS_FILE` if it exists.

    Args:
        path: a manifest, or a folder with one set.

    Raises:
        TrainingError: a line cannot be read, a path leads out of the folder, an image is in two lists of a set, or a
            class has no training image.
    """
    lists = find_set(path)
    items = {part: _read(file, part) for part, file in lists.items()}
    _require_exclusive(lists, items)
    together = [item for each in items.values() for item in each]
    first = next(iter(lists.values()))
    require_trained(first.name, together)
    return build_dataset(first.stem, together, _names(first.parent / LABELS_FILE))


def find_set(path: Path) -> dict[str | None, Path]:
    """The manifests that belong together, by their part; a single one has the part None.

    Raises:
        TrainingError: `path` is a folder with no set or several, or a test list.
    """
    if path.is_dir():
        sets = find_sets(path)
        if len(sets) != 1:
            names = ", ".join(each[TRAIN].name for each in sets[:5])
            raise TrainingError(
                f"{path} has {len(sets)} sets of lists ({names}); give the training list of one: a run takes one fold"
                if sets
                else f"{path} has no pair of lists such as X_train.lst and X_test.lst"
            )
        return sets[0]
    match = _PART_NAME.fullmatch(path.name)
    if match is None:
        return {None: path}
    found = _belonging(path, match)
    if TRAIN not in found:
        if _PARTS[match[2].lower()] == TEST:
            raise TrainingError(f"{path} is a test list, and there is no training list of that name beside it")
        return {None: path}
    return found if len(found) > 1 else {None: path}


def find_sets(folder: Path) -> list[dict[str | None, Path]]:
    """The sets of manifests in a folder that have a training list and another one, in the order of their names."""
    matches = ((file, _PART_NAME.fullmatch(file.name)) for file in sorted(folder.glob("*.lst")))
    training = [(file, match) for file, match in matches if match and match[2].lower() == TRAIN]
    return [found for file, match in training if len(found := _belonging(file, match)) > 1]


def _belonging(path: Path, match: re.Match[str]) -> dict[str | None, Path]:
    names = {path.name.lower(): path for path in path.parent.glob("*.lst")}
    found: dict[str | None, Path] = {}
    for word, part in _PARTS.items():
        if beside := names.get(f"{match[1]}{word}{match[3]}.lst".lower()):
            found.setdefault(part, beside)
    return found


def _require_exclusive(lists: dict[str | None, Path], items: dict[str | None, list[_Item]]) -> None:
    """Raises TrainingError if an image is in two lists: a model would be tested on its training images."""
    seen: dict[Path, str | None] = {}
    shared: dict[tuple[str | None, str | None], list[str]] = {}
    for part, each in items.items():
        for name, _, _, image in each:
            if seen.setdefault(image, part) != part:
                shared.setdefault((seen[image], part), []).append(name)
    if shared:
        sentences = [
            f"{lists[one].name} and {lists[other].name} share {len(names):,} images, such as "
            f"{', '.join(names[:_MAX_SHOWN])}"
            for (one, other), names in shared.items()
        ]
        raise TrainingError(f"{'; '.join(sentences)}.  Each image may be in one list only")


def _read(path: Path, part: str | None) -> list[_Item]:
    root = path.parent.resolve()
    items: list[_Item] = []
    mistakes: list[str] = []
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        columns = line.split("\t")
        name = columns[-1].strip()
        label = _label(columns[1]) if len(columns) == 3 else Path(name).parent.name
        if len(columns) not in (1, 3) or not label:
            mistakes.append(f"line {number} has {len(columns)} columns instead of three (index, label, path)")
        elif not (image := (root / name).resolve()).is_relative_to(root):
            mistakes.append(f"line {number} leads out of the manifest's folder: {name}")
        else:
            items.append((name, label, part, image))
    if mistakes:
        more = f" and {len(mistakes) - _MAX_SHOWN} more" if mistakes[_MAX_SHOWN:] else ""
        raise TrainingError(f"{path}: {'; '.join(mistakes[:_MAX_SHOWN])}{more}")
    return items


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
