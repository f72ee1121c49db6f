"""PyTorch checkpoints in the format that `torch.save` wrote before it made zip files, without PyTorch."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

_NAMES = {"float32": "FloatStorage", "int64": "LongStorage"}


@dataclass(frozen=True)
class _Storage:
    key: str
    values: NDArray[Any]


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        kind = getattr(sys.modules["torch"], _NAMES[obj.values.dtype.name])
        return "storage", kind, obj.key, "cpu", obj.values.size, None


def _modules() -> dict[str, types.ModuleType]:
    """Modules with the names to which a checkpoint refers."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in _NAMES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_arguments: object) -> None:
        raise NotImplementedError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    return {"torch": torch, "torch._utils": utils}


def checkpoint(tensors: Mapping[str, NDArray[Any]], others: Mapping[str, Any] | None = None) -> bytes:
    """A checkpoint with these tensors; a view keeps its offset and strides in a storage of its base's values.

    Args:
        others: what else the saved object holds.
    """
    file, storages = io.BytesIO(), []
    state: dict[str, Any] = OrderedDict()
    for number, (name, array) in enumerate(tensors.items()):
        base = array if array.base is None else array.base
        storage = _Storage(str(number), np.ascontiguousarray(base).reshape(-1))
        size = array.itemsize
        offset = (array.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // size
        state[name] = _Tensor(storage, offset, array.shape, tuple(step // size for step in array.strides))
        storages.append(storage)
    state.update(others or {})
    with mock.patch.dict(sys.modules, _modules()):
        for saved in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state, [s.key for s in storages]):
            _Pickler(file, protocol=2).dump(saved)
    for storage in storages:
        file.write(np.int64(storage.values.size).tobytes() + storage.values.tobytes())
    return file.getvalue()
