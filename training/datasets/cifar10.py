"""Read CIFAR-10 (Krizhevsky 2009): ``cifar-10-python.tar.gz`` or its extracted folder, pickled batches.

Unpickling can execute any code, so the batches are read by an unpickler that is restricted to arrays.
"""

from __future__ import annotations

import codecs
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct

from core.errors import TrainingError
from training.datasets.archives import check_hash
from training.datasets.samples import TEST, TRAIN, ImageDataset, Sample

ARCHIVE = "cifar-10-python.tar.gz"
# Published on https://www.cs.toronto.edu/~kriz/cifar.html.
MD5 = "c58f30108f718f92721af3b95e74349a"
SIDE = 32
FOLDER = "cifar-10-batches-py"
_META = "batches.meta"
_BATCHES = {f"data_batch_{number}": TRAIN for number in range(1, 6)} | {"test_batch": TEST}
# Of the extracted files, which the archive's hash no longer protects.
BATCH_MD5 = {
    _META: "5ff9c542aee3614f3951f8cda6e48888",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# A batch is 29.3 MiB; larger members are refused.
_MAX_MEMBER_BYTES = 100_000_000

# The globals of pickled arrays, under the module names of NumPy before and since 2.0, and of bytes that Python 3 wrote
# for Python 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): codecs.encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}

# What a damaged or foreign file raises.
_DAMAGE = (tarfile.TarError, EOFError, OSError, pickle.UnpicklingError, KeyError, ValueError, TypeError)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise TrainingError(f"refused: the pickle asks for {module}.{name}; CIFAR-10 does not") from None


def read_cifar10(archive: Path, md5: str | None = MD5) -> ImageDataset:
    """Reads the archive without unpacking it; keeps its split into 50,000 training and 10,000 test images.

    Args:
        md5: the archive's expected hash; None: not checked.

    Raises:
        TrainingError: the archive is altered or damaged, or holds anything but batches of images.
    """
    if md5 is not None:
        check_hash(archive, "md5", md5)
    try:
        with tarfile.open(archive) as tar:
            return _dataset(archive, lambda name: _member(tar, name))
    except _DAMAGE as error:
        raise TrainingError(f"{archive} is not CIFAR-10's archive for Python: {error!r}") from error


def find_folder(source: Path) -> Path | None:
    """The folder of extracted batches: `source`, or the one in it; None if there is none."""
    return next((folder for folder in (source, source / FOLDER) if (folder / _META).is_file()), None)


def read_cifar10_folder(folder: Path, md5: Mapping[str, str] | None = None) -> ImageDataset:
    """Reads the extracted archive, with the same split.

    Args:
        md5: the files' expected hashes; None: the published ones.

    Raises:
        TrainingError: a file is missing, altered or damaged.
    """
    expected = BATCH_MD5 if md5 is None else md5

    def read(name: str) -> dict[str, Any]:
        if not (folder / name).is_file():
            raise TrainingError(f"{folder / name} is missing")
        if name in expected:
            check_hash(folder / name, "md5", expected[name])
        return load_arrays((folder / name).read_bytes())

    try:
        return _dataset(folder, read)
    except _DAMAGE as error:
        raise TrainingError(f"{folder} is not CIFAR-10 for Python: {error!r}") from error


def _dataset(source: Path, read: Callable[[str], dict[str, Any]]) -> ImageDataset:
    names = [text(name) for name in read(_META)["label_names"]]
    samples = tuple(sample for batch, part in _BATCHES.items() for sample in _samples(read(batch), batch, part))
    if any(not 0 <= sample.label < len(names) for sample in samples):
        raise TrainingError(f"{source}: a label without a name")
    return ImageDataset("CIFAR-10", tuple(names), None, samples)


def load_arrays(body: bytes) -> dict[str, Any]:
    """Unpickles a dictionary of arrays, strings, numbers and lists of these; keys come out as text.

    Raises:
        TrainingError: the pickle refers to anything else.
    """
    loaded = _ArraysOnly(io.BytesIO(body), encoding="bytes").load()
    if not isinstance(loaded, dict):
        raise TrainingError("the pickle does not hold a dictionary")
    return {text(key): value for key, value in loaded.items()}


def text(value: bytes | str) -> str:
    """Converts Python 2's strings, which these pickles hold, to text."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _member(tar: tarfile.TarFile, name: str) -> dict[str, Any]:
    member = tar.getmember(f"{FOLDER}/{name}")
    file = tar.extractfile(member)
    if file is None or member.size > _MAX_MEMBER_BYTES:
        raise TrainingError(f"{name} is not a file of CIFAR-10")
    return load_arrays(file.read())


def _samples(batch: dict[str, Any], name: str, part: str) -> Iterator[Sample]:
    # A row holds 1,024 reds, then greens, then blues.
    pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    for number, (image, label) in enumerate(zip(pixels, batch["labels"], strict=True)):
        yield Sample(f"{name}/{number:05d}", int(label), part, pixels=image)
