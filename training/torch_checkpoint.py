"""Read the tensors of a PyTorch checkpoint without PyTorch, and without running code from the file.

`torch.save` wrote, until its version 1.6 made it a zip file: four pickles (a magic number, the format's version, a
description of the machine, the saved object), a pickle with the keys of the storages, and then each storage, its
length as a 64-bit integer before its values.  A tensor in the saved object refers to a part of a storage.  Source:
`torch/serialization.py`, ``_legacy_load``.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import ExportError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_TYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


@dataclass(slots=True)
class _Storage:
    dtype: np.dtype[Any]
    length: int
    values: NDArray[Any] = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """The tensor's values."""
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.strides, *(size - 1 for size in self.shape), 0) < 0 or last >= self.storage.length:
            raise ValueError("a tensor is empty or lies outside of its storage")
        size = self.storage.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            self.storage.values[self.offset :], self.shape, [stride * size for stride in self.strides]
        )
        return view.copy()


class _Unpickler(pickle.Unpickler):
    """An unpickler that makes tensors, ordered dictionaries and plain values only."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        }
        if module == "torch" and name in _TYPES:
            return np.dtype(_TYPES[name])
        if (module, name) not in known:
            raise ValueError(f"it refers to {module}.{name}")
        return known[module, name]

    def persistent_load(self, reference: Sequence[Any]) -> _Storage:
        kind, dtype, key, _device, length = reference[:5]
        if kind != "storage":
            raise ValueError(f"it refers to a {kind}")
        return self._storages.setdefault(key, _Storage(dtype, length))


def _rebuild(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_unused: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read_checkpoint(content: bytes) -> dict[str, NDArray[Any]]:
    """Read a checkpoint that holds a module's state: a name and a tensor for each parameter.

    Raises:
        ExportError: it is no such file, or it holds anything else.
    """
    file, storages = io.BytesIO(content), dict[str, _Storage]()
    try:
        if [_Unpickler(file, {}).load() for _ in range(2)] != [_MAGIC, _VERSION]:
            raise ValueError("another format")
        _Unpickler(file, {}).load()  # the machine's byte order, which is little-endian wherever PyTorch runs
        state = _Unpickler(file, storages).load()
        for key in _Unpickler(file, {}).load():
            storage = storages[key]
            (length,) = np.frombuffer(file.read(8), "<i8")
            if length != storage.length:
                raise ValueError("a storage has another length than its tensors")
            storage.values = np.frombuffer(file.read(length * storage.dtype.itemsize), storage.dtype)
        return {name: tensor.array() for name, tensor in state.items()}
    except Exception as error:  # an unpickler raises many kinds of exceptions for a damaged file
        raise ExportError(f"this is not a PyTorch checkpoint of a model's weights: {error}") from error
