"""The tags of a TIFF file's first image that say how its pixels are stored; classic TIFF and BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _PLANAR = 274, 277, 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUBSAMPLING = 338, 339, 530
_WANTED = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR}
_WANTED |= {_TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUBSAMPLING}
# Types of whole numbers, by their code.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_MAX_TAGS = 65_535
_MAX_VALUES = 64


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """How a TIFF stores its first image: TIFF 6.0's tags with their default values.

    `bits` has one entry for each sample of a pixel; `width` and `height` are as stored, before any turn; the tile's
    sides are 0 where the image is stored in strips.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    sample_formats: tuple[int, ...]
    compression: int
    photometric: int
    planar: int
    orientation: int
    extra_samples: tuple[int, ...]
    subsampling: tuple[int, ...]
    is_little_endian: bool
    is_big: bool
    tile_width: int = 0
    tile_height: int = 0

    @property
    def samples(self) -> int:
        """Samples per pixel."""
        return len(self.bits)


def read_tiff_header(file: IO[bytes]) -> TiffHeader:
    """Read the tags of a TIFF's first image.

    Raises:
        EOFError: the file is cut off before them.
        ValueError: a tag has a value that no reader understands.
        KeyError: the size is missing.
    """
    start = read_at(file, 0, 8)
    little, big = start.startswith(b"I"), 43 in (start[2], start[3])
    tags = _read_tags(file, "<" if little else ">", big)
    samples = _first(tags, _SAMPLES, 1)
    if not 1 <= samples <= _MAX_VALUES:
        raise ValueError(f"{samples} samples")
    return TiffHeader(
        width=tags[_WIDTH][0],
        height=tags[_HEIGHT][0],
        bits=_for_each_sample(tags.get(_BITS, (1,)), samples),
        sample_formats=_for_each_sample(tags.get(_SAMPLE_FORMAT, (1,)), samples),
        compression=_first(tags, _COMPRESSION, 1),
        # The tag is required; the default is the decoders'.
        photometric=_first(tags, _PHOTOMETRIC, 0),
        planar=_first(tags, _PLANAR, 1),
        orientation=_first(tags, _ORIENTATION, 1),
        extra_samples=tags.get(_EXTRA_SAMPLES, ()),
        subsampling=tags.get(_SUBSAMPLING, (2, 2)),
        is_little_endian=little,
        is_big=big,
        tile_width=_first(tags, _TILE_WIDTH, 0),
        tile_height=_first(tags, _TILE_HEIGHT, 0),
    )


def _read_tags(file: IO[bytes], order: str, big: bool) -> Mapping[int, tuple[int, ...]]:
    """The whole-number tags that a header is made of, by their number."""
    pointer, count_type, entry_type, inline = ("Q", "Q", "HHQ8s", 8) if big else ("I", "H", "HHI4s", 4)
    (offset,) = struct.unpack(f"{order}{pointer}", read_at(file, 8 if big else 4, inline))
    (count,) = struct.unpack(f"{order}{count_type}", read_at(file, offset, struct.calcsize(count_type)))
    if count > _MAX_TAGS:
        raise ValueError(f"{count} tags")
    entry = struct.Struct(f"{order}{entry_type}")
    table = read_at(file, offset + struct.calcsize(count_type), count * entry.size)
    tags = {}
    for tag, type_code, values, content in entry.iter_unpack(table):
        if tag in _WANTED and type_code in _TYPES and values > 0:
            layout = struct.Struct(f"{order}{min(values, _MAX_VALUES)}{_TYPES[type_code]}")
            if struct.calcsize(f"={_TYPES[type_code]}") * values > inline:
                (place,) = struct.unpack(f"{order}{pointer}", content)
                content = read_at(file, place, layout.size)
            tags[tag] = layout.unpack_from(content)
    return tags


def _first(tags: Mapping[int, tuple[int, ...]], tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]


def _for_each_sample(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """The values, one for each sample: writers often store one for all, and some store more than there are."""
    if len(values) < samples and len(set(values)) > 1:
        raise ValueError("values are missing")
    return values[:samples] if len(values) >= samples else values[:1] * samples


def read_at(file: IO[bytes], offset: int, count: int) -> bytes:
    """Read exactly `count` bytes at an offset.

    Raises:
        EOFError: the file ends before.
    """
    file.seek(offset)
    found = file.read(count)
    if len(found) < count:
        raise EOFError
    return found
