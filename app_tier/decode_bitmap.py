"""Open what Pillow's plugins for BMP, ICO and CUR do not: arbitrary bit masks, cursors, and one picture of an icon."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import BrokenImageError, UnsupportedImageError
from core.image_header import largest_icon

_FILE_HEADER_BYTES = 14
_BIT_FIELDS, _ALPHA_BIT_FIELDS = 3, 6
_MASKS_OFFSET = 40
_SIZE_WITH_ALPHA = 56


def open_icon(body: bytes) -> Image.Image:
    """Open the largest picture of an icon or cursor file, and no other.

    Raises:
        EOFError, ValueError: the file is damaged.
    """
    icon = largest_icon(io.BytesIO(body))
    if icon.is_png:
        return Image.open(io.BytesIO(body[icon.offset :]), formats=("PNG",))
    # Another file with this picture alone: Pillow chooses by the sizes in the directory, which may be wrong, and a
    # cursor has its hot spot in place of the depth.
    picture = body[icon.offset : icon.offset + icon.size_bytes]
    sides = (icon.width % 256, icon.height % 256)
    entry = struct.pack("<4B2H2I", *sides, 0, 0, 1, icon.bits_per_pixel, len(picture), 22)
    return Image.open(io.BytesIO(struct.pack("<3H", 0, 1, 1) + entry + picture), formats=("ICO",))


def open_bitmap(format: str, body: bytes) -> Image.Image:
    """Open a BMP, or a DIB, which is a BMP without its first 14 bytes.

    Raises:
        UnsupportedImageError: its layout cannot be read.
        BrokenImageError: it is damaged.
    """
    start = _FILE_HEADER_BYTES if format == "BMP" else 0
    header_bytes, width, height, bits, compression = struct.unpack_from("<IIi2xHI", body.ljust(64, b"\0"), start)
    if header_bytes < _MASKS_OFFSET or compression not in (_BIT_FIELDS, _ALPHA_BIT_FIELDS) or bits not in (16, 32):
        return Image.open(io.BytesIO(body), formats=(format,))
    has_alpha = header_bytes >= _SIZE_WITH_ALPHA or compression == _ALPHA_BIT_FIELDS
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", body, start + _MASKS_OFFSET)
    if format == "BMP":
        (offset,) = struct.unpack_from("<I", body, 10)
    else:
        offset = header_bytes + (4 * len(masks) if header_bytes == _MASKS_OFFSET else 0)
    stride = (width * bits + 31) // 32 * 4
    if len(body) < offset + stride * abs(height):
        raise BrokenImageError("the BMP image is damaged or incomplete: it ends before its last row")
    values = np.frombuffer(body, f"<u{bits // 8}", stride * abs(height) * 8 // bits, offset)
    values = values.reshape(abs(height), -1)[:, :width]
    if height > 0:  # the lowest row first
        values = values[::-1]
    if not any(masks[:3]):
        raise UnsupportedImageError("the BMP image has a layout that cannot be read: it has no masks of colours")
    used = masks if any(masks[3:]) else masks[:3]
    return Image.fromarray(np.stack([_channel(values, mask) for mask in used], axis=-1))


def _channel(values: NDArray[np.generic], mask: int) -> NDArray[np.uint8]:
    """The bits below a mask, scaled to 0 … 255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most & (most + 1):
        raise UnsupportedImageError("the BMP image has a layout that cannot be read: a mask of a colour has gaps")
    found = (values.astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
    return ((found * np.uint64(255) + np.uint64(most // 2)) // np.uint64(most)).astype(np.uint8)
