"""The memory that decoding an image takes, and a limit on what all images that are being decoded take together.

What a decoder holds has little to do with the size of the picture that it returns: a progressive JPEG keeps all of its
coefficients at full size, however small it is decoded; WebP keeps four copies; JPEG 2000 a number of 32 bits for each
sample.  `decoding_bytes` gives an upper bound from the header alone, and `DecodeMemory` lets images begin only while
their bounds fit into the limit together.  ``python -m benchmarks.decode_memory`` measures the figures.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from app_tier.decode_jpeg import coefficient_bytes
from core.image_header import ImageHeader, jpeg2000_codestream
from core.tiff_header import read_tiff_header

# Images that need less are not counted, and wait for no large one; a photo decoded at reduced scale is one of them.
SMALL_BYTES = 16 * 1024 * 1024
# Of JPEG's and TIFF's pictures after their decoder, and of all in other formats, for each pixel: the decoder's own
# copies, the picture, its conversion to RGB or RGBA and that one with alpha multiplied in, for the resampling.
_BYTES_PER_PIXEL = {
    "JPEG": 12,
    "PNG": 10,
    "GIF": 10,
    "WEBP": 17,
    "HEIF": 20,
    "AVIF": 20,
    "TIFF": 9,
    "BMP": 21,
    "DIB": 21,
    "ICO": 12,
    "CUR": 12,
    "PPM": 13,
}
# The file itself is in memory anyway; some decoders copy it.
_COPIES_OF_FILE = 2
# Intermediate values of a part of the picture, and what an allocator rounds up.
_FIXED_BYTES = 6 * 1024 * 1024
# Samples of a TIFF in the decoder's buffer and in the array that is made of them.
_COPIES_OF_SAMPLES = 2
# JPEG 2000, by the number of components; beyond four, Pillow refuses the file.
_JPEG2000_BYTES_PER_PIXEL = (9, 15, 20, 25)
# What OpenJPEG keeps of each tile, however small it is: for the tile, and for each of its components.
_TILE_BYTES, _TILE_COMPONENT_BYTES = 8_192, 2_048


def decoding_bytes(header: ImageHeader, body: bytes, draft_size: tuple[int, int]) -> int:
    """An upper bound on the memory that decoding a file takes beyond the file itself, in bytes.

    Args:
        header: the file's header, or a larger size where the decoder has found one.
        draft_size: the size in pixels to which a JPEG is reduced while it is decoded, at the least.

    Raises:
        EOFError, ValueError, struct.error: the file ends too early.
    """
    pixels = header.width * header.height
    fixed = _FIXED_BYTES + _COPIES_OF_FILE * len(body)
    if header.format == "JPEG":
        scale = min(header.width // draft_size[0], header.height // draft_size[1])
        reduction = next((factor for factor in (8, 4, 2) if scale >= factor), 1)
        return fixed + coefficient_bytes(body) + _BYTES_PER_PIXEL["JPEG"] * pixels // reduction**2
    if header.format == "JPEG2000":
        return fixed + _jpeg2000_bytes(body, pixels)
    if header.format == "TIFF":
        return fixed + _tiff_bytes(body, pixels)
    return fixed + _BYTES_PER_PIXEL[header.format] * pixels


def _tiff_bytes(body: bytes, pixels: int) -> int:
    header = read_tiff_header(io.BytesIO(body))
    sample_bytes = -(-sum(header.bits) // 8)
    # A tile is decoded as a whole, even where it is larger than the picture.
    decoded = max(pixels, header.tile_width * header.tile_height)
    return _BYTES_PER_PIXEL["TIFF"] * pixels + _COPIES_OF_SAMPLES * sample_bytes * decoded


def _jpeg2000_bytes(body: bytes, pixels: int) -> int:
    # After the two markers, the segment's length and the capabilities.
    start = jpeg2000_codestream(io.BytesIO(body)) + 8
    right, bottom, _x, _y, tile_width, tile_height, tile_x, tile_y, components = struct.unpack_from(">8IH", body, start)
    tiles: int = -(-(right - tile_x) // max(1, tile_width)) * -(-(bottom - tile_y) // max(1, tile_height))
    per_pixel = _JPEG2000_BYTES_PER_PIXEL[min(max(1, components), len(_JPEG2000_BYTES_PER_PIXEL)) - 1]
    total: int = per_pixel * pixels + tiles * (_TILE_BYTES + components * _TILE_COMPONENT_BYTES)
    return total


class DecodeMemory:
    """Counts the memory of the images that are being decoded; thread-safe.

    Large images begin in the order in which they ask, so that none waits for ever.
    """

    def __init__(self) -> None:
        self._held_bytes = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size_bytes: int, capacity_bytes: int) -> Iterator[None]:
        """Wait until `size_bytes` fit into `capacity_bytes` beside what others hold, and hold them during the block.

        Small sizes are not counted.

        Args:
            size_bytes: at most `capacity_bytes`.
        """
        if size_bytes <= SMALL_BYTES:
            yield
            return
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(
                lambda: self._waiting[0] is ticket and self._held_bytes + size_bytes <= capacity_bytes
            )
            self._waiting.popleft()
            self._held_bytes += size_bytes
            self._changed.notify_all()
        try:
            yield
        finally:
            _return_freed_memory()
            with self._changed:
                self._held_bytes -= size_bytes
                self._changed.notify_all()


def _return_freed_memory() -> None:
    """Return to the system what the C library keeps of freed memory, in a pool for each thread.

    Without this, eight threads that decoded large images in turn had up to 3.4 GiB.
    """
    with contextlib.suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


# One for each process: all its threads, and the candidate of shadow mode.
decode_memory = DecodeMemory()
