"""What Pillow does not do for JPEGs: count what their decoder holds, and read one whose end is missing.

Of the latter nearly all of the picture must be there.  The decoder of libjpeg fills what is missing with gray and does
not report where.  So the file is decoded twice, each time with an end marker added, and once with meaningless data
before it: a row that depends on missing data differs.
"""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from core.errors import BrokenImageError

# Of the rows, so many must be there.
MIN_SHARE_OF_ROWS = 0.95

_END_MARKER = b"\xff\xd9"
# Arbitrary bytes without 0xFF, which begins a marker; enough for some blocks of the picture.
_FILLER = bytes((position * position * 7 + position * 73 + 41) % 251 for position in range(2048))
# A marker within the compressed data; a zero after 0xFF is data, D0 to D7 are restart markers.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_START_OF_SCAN = 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_COEFFICIENTS = 64
_COEFFICIENT_BYTES = 2
# Progressive frames of Huffman and of arithmetic coding.
_PROGRESSIVE_FRAMES = (0xC2, 0xC6, 0xCA, 0xCE)
# The longest side of what is coded together: blocks of eight samples, up to four in a row.
_UNIT = 32


def coefficient_bytes(body: bytes) -> int:
    """The memory that libjpeg holds for the coefficients of a whole JPEG, in bytes; 0 where it decodes row by row.

    It keeps them where a file has several scans: where it is progressive, or its components come one after the other.
    """
    frame: bytes | None = None
    is_progressive = False
    offset = 2
    while (found := _MARKER.search(body, offset)) is not None:
        marker, start = found[1][0], found.end()
        length = int.from_bytes(body[start : start + 2], "big")
        segment = body[start + 2 : start + length]
        if marker in _FRAMES and len(segment) >= 6:
            frame, is_progressive = segment, marker in _PROGRESSIVE_FRAMES
        elif marker == _START_OF_SCAN:
            break
        offset = start + max(2, length)
    else:
        return 0
    if frame is None or not segment:
        return 0
    components = frame[5]
    if not is_progressive and segment[0] >= components:
        return 0
    height, width = (int.from_bytes(frame[at : at + 2], "big") for at in (1, 3))
    return _COEFFICIENT_BYTES * components * _rounded_up(width) * _rounded_up(height)


def _rounded_up(samples: int) -> int:
    return -(-samples // _UNIT) * _UNIT


def load_incomplete(body: bytes, draft_size: tuple[int, int]) -> tuple[Image.Image, str]:
    """Decode a JPEG that lacks its end; returns it loaded, and a remark on what is missing.

    Args:
        body: the file.
        draft_size: as for `Image.draft`, which may decode at reduced scale.

    Raises:
        BrokenImageError: too much is missing.
        OSError: the file is damaged in another way.
    """
    body = body.rstrip(b"\xff")
    if not _sends_every_coefficient(body):
        raise BrokenImageError("the JPEG image is damaged or incomplete: it ends before its picture is complete")
    image = _load(body + _END_MARKER, draft_size)
    probe = _load(body + _FILLER + _END_MARKER, draft_size)
    differs = (np.asarray(image) != np.asarray(probe)).reshape(image.height, -1).any(axis=1)
    share = float(np.argmax(differs)) / image.height if differs.any() else 1.0
    if share < MIN_SHARE_OF_ROWS:
        raise BrokenImageError(
            f"the JPEG image is damaged or incomplete: only {share * 100:.0f} % of its rows are there"
        )
    if share == 1.0:
        return image, "incomplete: only the end marker is missing"
    return image, f"incomplete: {share * 100:.0f} % of the rows are there"


def _load(body: bytes, draft_size: tuple[int, int]) -> Image.Image:
    image = Image.open(io.BytesIO(body), formats=("JPEG",))
    image.draft("RGB", draft_size)
    image.load()
    return image


def _sends_every_coefficient(body: bytes) -> bool:
    """Whether the file's scans, the unfinished last one included, carry every coefficient of every component.

    A progressive JPEG sends coarse coefficients of the whole picture first: cut off early, it has all rows, blurred.
    """
    components: set[int] = set()
    sent: set[tuple[int, int]] = set()
    offset = 2
    while (found := _MARKER.search(body, offset)) is not None:
        marker, start = found[1][0], found.end()
        length = int.from_bytes(body[start : start + 2], "big")
        segment = body[start + 2 : start + length]
        if marker in _FRAMES:
            components = set(segment[6::3])
        elif marker == _START_OF_SCAN:
            count = segment[0]
            first, last = segment[1 + 2 * count], segment[2 + 2 * count]
            sent.update((component, k) for component in segment[1 : 1 + 2 * count : 2] for k in range(first, last + 1))
        offset = start + max(2, length)
    return bool(components) and sent >= {(component, k) for component in components for k in range(_COEFFICIENTS)}
