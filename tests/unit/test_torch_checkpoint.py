"""PyTorch checkpoints: tensors come out as they went in, and nothing else comes out of any file."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ExportError
from tests.torch_files import checkpoint
from training.torch_checkpoint import read_checkpoint

TENSORS = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "part": np.arange(20, dtype=np.float32)[7:12],
    "count": np.array(12345),
}
SAVED = checkpoint(TENSORS)


def test_tensors_come_out_as_they_went_in() -> None:
    read = read_checkpoint(SAVED)
    assert read.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert read[name].dtype == expected.dtype and np.array_equal(read[name], expected), name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Ran out of input"),
        (b"PK\x03\x04 a zip file", "not a PyTorch checkpoint"),
        (SAVED[:-1], "buffer"),
        (checkpoint({}, {"x": 3}), "array"),
        (checkpoint({}, {"x": os.getcwd}), "refers to posix.getcwd"),
    ],
    ids=["empty", "zip", "cut", "no tensor", "code"],
)
def test_anything_else_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        read_checkpoint(content)


@given(st.integers(0, len(SAVED) - 1), st.integers(1, 255))
def test_a_damaged_file_gives_tensors_or_an_error(position: int, change: int) -> None:
    damaged = bytearray(SAVED)
    damaged[position] ^= change
    try:
        read = read_checkpoint(bytes(damaged))
    except ExportError:
        return
    assert all(isinstance(tensor, np.ndarray) for tensor in read.values())
