"""Read CIFAR-10 (Krizhevsky 2009) from ``cifar-10-python.tar.gz``, pickled batches as its author publishes them.

Unpickling can execute any code, so the batches are read by an unpickler that is restricted to arrays.
"""

from __future__ import annotations

import codecs
import io
import pickle
import tarfile
from collections.abc import Iterator
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
_FOLDER = "cifar-10-batches-py"
_BATCHES = {f"data_batch_{number}": TRAIN for number in range(1, 6)} | {"test_batch": TEST}
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
            names = [text(name) for name in _member(tar, "batches.meta")["label_names"]]
            samples = tuple(s for batch, part in _BATCHES.items() for s in _samples(_member(tar, batch), batch, part))
    except (tarfile.TarError, EOFError, OSError, pickle.UnpicklingError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{archive} is not CIFAR-10's archive for Python: {error!r}") from error
    if any(not 0 <= sample.label < len(names) for sample in samples):
        raise TrainingError(f"{archive}: a label without a name")
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
    member = tar.getmember(f"{_FOLDER}/{name}")
    file = tar.extractfile(member)
    if file is None or member.size > _MAX_MEMBER_BYTES:
        raise TrainingError(f"{name} is not a file of CIFAR-10")
    return load_arrays(file.read())


def _samples(batch: dict[str, Any], name: str, part: str) -> Iterator[Sample]:
    # A row holds 1,024 reds, then greens, then blues.
    pixels = np.asarray(batch["data"], np.uint8).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    for number, (image, label) in enumerate(zip(pixels, batch["labels"], strict=True)):
        yield Sample(f"{name}/{number:05d}", int(label), part, pixels=image)
