"""Data sets: folders by class, ``.lst`` manifests, Stanford Dogs and CIFAR-10, archived or extracted, and mixtures."""

from __future__ import annotations

from pathlib import Path

from core.errors import TrainingError
from training.datasets import cifar10
from training.datasets.folders import read_folders
from training.datasets.manifests import find_sets, read_manifest
from training.datasets.mixtures import read_mixture
from training.datasets.samples import ImageDataset
from training.datasets.selection import select_classes
from training.datasets.stanford_dogs import is_extracted, read_extracted_dogs, read_stanford_dogs

KINDS = ("auto", "folders", "lst", "stanford-dogs", "cifar10", "mixture")


def load_dataset(source: Path, kind: str, cache: Path, classes: str = "") -> ImageDataset:
    """Reads the data set at `source`, or some classes of it.

    Args:
        kind: one of `KINDS`; ``auto``: detected.
        cache: the folder where archives are unpacked.
        classes: see `select_classes`.

    Raises:
        TrainingError: there is no data set, it is damaged, or it lacks the classes.
    """
    return select_classes(_load_all(source, kind, cache), classes)


def _load_all(source: Path, kind: str, cache: Path) -> ImageDataset:
    if not source.exists():
        raise TrainingError(f"{source} does not exist")
    try:
        match detect(source) if kind == "auto" else kind:
            case "cifar10":
                if (source / cifar10.ARCHIVE).is_file():
                    return cifar10.read_cifar10(source / cifar10.ARCHIVE)
                folder = cifar10.find_folder(source)
                return cifar10.read_cifar10(source) if folder is None else cifar10.read_cifar10_folder(folder)
            case "stanford-dogs":
                if is_extracted(source):
                    return read_extracted_dogs(source)
                return read_stanford_dogs(source if source.is_dir() else source.parent, cache)
            case "mixture":
                return read_mixture(source)
            case "lst":
                return read_manifest(source)
            case _:
                return read_folders(source)
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{source} cannot be read as a data set: {error}") from error


def detect(source: Path) -> str:
    """Detects the format of the data set at `source`, one of `KINDS`."""
    if source.is_dir():
        if (source / cifar10.ARCHIVE).is_file() or cifar10.find_folder(source):
            return "cifar10"
        if find_sets(source):
            return "lst"
        return "stanford-dogs" if (source / "images.tar").is_file() or is_extracted(source) else "folders"
    if source.suffix == ".lst":
        return "lst"
    if source.suffix == ".toml":
        return "mixture"
    if source.name == cifar10.ARCHIVE:
        return "cifar10"
    if source.name == "images.tar":
        return "stanford-dogs"
    raise TrainingError(
        f"{source} is not a data set: give a folder with a folder for each class, a .lst manifest, a mixture (.toml), "
        f"Stanford Dogs' images.tar, {cifar10.ARCHIVE}, or the folder of either, extracted or not"
    )
