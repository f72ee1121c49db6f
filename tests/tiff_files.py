"""Write TIFF files of any layout, with NumPy alone, so that the pixels that a decoder must find are known."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
NONE, LZW, DEFLATE = 1, 5, 8
_FORMATS = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}
_ROWS_PER_STRIP = 16


@dataclass(frozen=True)
class Layout:
    """How to store samples; `bits` below eight, and twelve, are packed."""

    photometric: int
    bits: int = 8
    sample_format: int = UNSIGNED
    planar: int = 1
    compression: int = NONE
    big_endian: bool = False
    big_tiff: bool = False
    predictor: int = 1
    fill_order: int = 1
    extra_samples: tuple[int, ...] = ()
    orientation: int | None = None
    palette: tuple[int, ...] = ()


def write_tiff(samples: NDArray[Any], layout: Layout) -> bytes:
    """A TIFF of samples of shape (height, width, samples per pixel)."""
    height, width, count = samples.shape
    planes = [samples] if layout.planar == 1 else [samples[..., k : k + 1] for k in range(count)]
    strips = [
        _compressed(plane[row : row + _ROWS_PER_STRIP], layout)
        for plane in planes
        for row in range(0, height, _ROWS_PER_STRIP)
    ]
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [layout.bits] * count),
        259: ("H", [layout.compression]),
        262: ("H", [layout.photometric]),
        266: ("H", [layout.fill_order]),
        277: ("H", [count]),
        278: ("I", [_ROWS_PER_STRIP]),
        279: ("I", [len(strip) for strip in strips]),
        284: ("H", [layout.planar]),
        339: ("H", [layout.sample_format] * count),
    }
    if layout.predictor != 1:
        tags[317] = ("H", [layout.predictor])
    if layout.extra_samples:
        tags[338] = ("H", layout.extra_samples)
    if layout.orientation is not None:
        tags[274] = ("H", [layout.orientation])
    if layout.palette:
        tags[320] = ("H", layout.palette)
    if layout.photometric == 6:
        tags[530] = ("H", [1, 1])
    return _assemble(tags, strips, layout)


def _compressed(rows: NDArray[Any], layout: Layout) -> bytes:
    if layout.predictor == 2:
        rows = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)
    if layout.bits < 8 or layout.bits == 12:
        bits = (rows.reshape(len(rows), -1)[..., None].astype(np.int64) >> np.arange(layout.bits - 1, -1, -1)) & 1
        data = b"".join(np.packbits(row.ravel().astype(bool)).tobytes() for row in bits)
    else:
        data = rows.astype(rows.dtype.newbyteorder(">" if layout.big_endian else "<")).tobytes()
    if layout.compression == DEFLATE:
        data = zlib.compress(data)
    elif layout.compression == LZW:
        data = _lzw(data)
    if layout.fill_order == 2:
        data = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    return data


def _lzw(data: bytes) -> bytes:
    """LZW that never uses its table: nine bits for each byte, and a code to clear the table before it grows wider."""
    codes = [256]
    for start in range(0, len(data), 250):
        codes += [*data[start : start + 250], 256]
    bits = "".join(f"{code:09b}" for code in (*codes, 257))
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


def _assemble(tags: dict[int, tuple[str, Sequence[int]]], strips: list[bytes], layout: Layout) -> bytes:
    order, big = ">" if layout.big_endian else "<", layout.big_tiff
    pointer, inline, count_type = ("Q", 8, "Q") if big else ("I", 4, "H")
    mark = b"MM" if layout.big_endian else b"II"
    head = mark + (struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42))
    position = len(head) + inline
    offsets = []
    for strip in strips:
        offsets.append(position)
        position += len(strip)
    tags[273] = ("I", offsets)
    body, entries = b"".join(strips), []
    codes = {"H": 3, "I": 4}
    for tag, (kind, values) in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(content) > inline:
            body, content = body + content, struct.pack(f"{order}{pointer}", len(head) + inline + len(body))
        entries.append(struct.pack(f"{order}HH{pointer}", tag, codes[kind], len(values)) + content.ljust(inline, b"\0"))
    directory = len(head) + inline + len(body)
    table = struct.pack(f"{order}{count_type}", len(entries)) + b"".join(entries) + bytes(inline)
    return head + struct.pack(f"{order}{pointer}", directory) + body + table


def dtype_of(bits: int, sample_format: int) -> np.dtype[Any]:
    """The NumPy type that holds a sample."""
    letter = next(letter for letter, number in _FORMATS.items() if number == sample_format)
    return np.dtype(f"{letter}{max(8, 16 if bits == 12 else bits) // 8}")
