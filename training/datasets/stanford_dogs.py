"""Read Stanford Dogs (Khosla et al. 2011): 20,580 photos of 120 breeds, in two archives or extracted."""

from __future__ import annotations

from pathlib import Path

import scipy.io

from core.errors import TrainingError
from training.datasets.archives import check_hash, extract
from training.datasets.samples import TEST, TRAIN, ImageDataset, build_dataset

# SHA-256 of the published files, as TensorFlow Datasets records them (url_checksums/stanford_dogs.txt).
SHA256 = {
    "images.tar": "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
    "lists.tar": "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
}
IMAGES = "Images"
_LISTS = {"train_list.mat": TRAIN, "test_list.mat": TEST}


def read_stanford_dogs(folder: Path, cache: Path, sha256: dict[str, str] = SHA256) -> ImageDataset:
    """Reads the archives in `folder`, unpacked below `cache`, with the published split into training and test.

    Raises:
        TrainingError: an archive is missing, altered or unsafe, or its lists are invalid.
    """
    unpacked = {}
    for name, expected in sha256.items():
        if not (folder / name).is_file():
            raise TrainingError(f"{folder / name} is missing; Stanford Dogs is images.tar and lists.tar")
        unpacked[name] = cache / f"{Path(name).stem}-{expected[:16]}"
        if not unpacked[name].exists():
            check_hash(folder / name, "sha256", expected)
            extract(folder / name, unpacked[name])
    return _read(unpacked["images.tar"] / IMAGES, unpacked["lists.tar"])


def is_extracted(folder: Path) -> bool:
    """Whether `folder` has the extracted photos, ``Images``, and lists, in ``lists`` or beside."""
    return (folder / IMAGES).is_dir() and _lists_folder(folder) is not None


def read_extracted_dogs(folder: Path) -> ImageDataset:
    """Reads the extracted archives, with the published split; annotations are not used.

    Raises:
        TrainingError: the lists are missing or invalid.
    """
    lists = _lists_folder(folder)
    if lists is None:
        raise TrainingError(f"{folder} lacks {' or '.join(_LISTS)}, beside {IMAGES} or in the folder lists")
    return _read(folder / IMAGES, lists)


def _lists_folder(folder: Path) -> Path | None:
    found = (place for place in (folder, folder / "lists") if all((place / name).is_file() for name in _LISTS))
    return next(found, None)


def _read(images: Path, lists: Path) -> ImageDataset:
    items = [
        (file, Path(file).parts[0], part, images / file)
        for name, part in _LISTS.items()
        for file in _files(lists / name)
    ]
    return build_dataset("Stanford Dogs", items)


def _files(path: Path) -> list[str]:
    """Reads the paths in a MATLAB list, such as ``n02085620-Chihuahua/n02085620_5927.jpg``."""
    try:
        files = [str(entry.item()) for entry in scipy.io.loadmat(path)["file_list"].ravel()]
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path.name} of Stanford Dogs cannot be read: {error}") from error
    if bad := [file for file in files if Path(file).is_absolute() or ".." in Path(file).parts]:
        raise TrainingError(f"{path.name} of Stanford Dogs names a file outside the archive: {bad[0]}")
    return files
