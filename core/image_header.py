"""The format and the size of an image file, read from its header alone: no pixel is decoded, no library is asked.

Opening a file with a decoder can cost as much as decoding it: Pillow decodes an icon, and reserves a WebP's canvas,
before it knows whether anybody wants the pixels.  Limits on the size are therefore checked here first, in the web tier
and in the worker.  Of each file only a few short pieces are read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from core.errors import BrokenImageError, ImageError, NotAnImageError
from core.foreign_formats import foreign_name
from core.formats import ACCEPTED_TEXT, format_name
from core.tiff_header import read_at, read_tiff_header

Size = tuple[int, int]

_PNG = b"\x89PNG\r\n\x1a\n"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_J2K = b"\xff\x4f\xff\x51"
_BMP_HEADER_SIZES = range(12, 129)
_DIB_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")
# Of a HEIF or AVIF file that names only the container: the item types of its images.
_CONTAINER_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf")
_PNM_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d+)")
_MAX_PNM_HEADER_BYTES = 64 * 1024
_MAX_ICONS = 256
_MAX_BOXES = 4096
_MAX_BOX_BYTES = 4 * 1024 * 1024
_MAX_SEGMENTS = 10_000
# By so many of a file's first bytes its format is recognized.
_START_BYTES = 512


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Header of an image file: Pillow's name of the format, and the size in pixels as stored, before any turn.

    Where a file holds several images (icons, the tiles of a HEIC), the size is that of the largest one.
    """

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Icon:
    """One picture of an icon or cursor file: its place in the file, its size in pixels, and whether it is a PNG."""

    offset: int
    size_bytes: int
    width: int
    height: int
    bits_per_pixel: int
    is_png: bool


def read_header(file: IO[bytes]) -> ImageHeader:
    """Read the header of an image file; leaves `file` at its start.

    Raises:
        NotAnImageError: the file is no image of an accepted format; the message names the format, where it is known.
        BrokenImageError: the format is an accepted one, but its header is damaged or cut off.
    """
    file.seek(0)
    try:
        start = file.read(_START_BYTES)
        for format, recognizes, read_size in _FORMATS:
            if recognizes(start):
                return ImageHeader(format, *_checked_size(format, file, read_size))
    finally:
        file.seek(0)
    if name := foreign_name(start):
        raise NotAnImageError(f"the file is {name}, which is not an accepted image; accepted are {ACCEPTED_TEXT}")
    raise NotAnImageError(f"the file is not an image of a known format; accepted are {ACCEPTED_TEXT}")


def recognize(body: bytes) -> str | None:
    """The format of an image file by its first bytes, Pillow's name; None where it is no accepted format."""
    start = body[:_START_BYTES]
    return next((format for format, recognizes, _ in _FORMATS if recognizes(start)), None)


def largest_icon(file: IO[bytes]) -> Icon:
    """Find the largest picture of an icon or cursor file, of equal ones that with the most bits per pixel.

    Sizes come from the pictures' own headers: those in the file's directory may be wrong.

    Raises:
        EOFError: the file is cut off.
        ValueError: there is no picture.
    """
    (count,) = struct.unpack("<H", read_at(file, 4, 2))
    if not 0 < count <= _MAX_ICONS:
        raise ValueError(f"{count} pictures")
    entries = struct.iter_unpack("<8x2I", read_at(file, 6, 16 * count))
    icons = [_icon(file, size_bytes, offset) for size_bytes, offset in entries]
    return max(icons, key=lambda icon: (icon.width * icon.height, icon.bits_per_pixel))


def _checked_size(format: str, file: IO[bytes], read_size: Callable[[IO[bytes]], Size]) -> Size:
    name = format_name(format)
    try:
        width, height = read_size(file)
    except ImageError:
        raise
    except EOFError as error:
        raise BrokenImageError(f"the {name} image is damaged or incomplete: it ends within its header") from error
    except (ValueError, LookupError, struct.error, OverflowError) as error:
        raise BrokenImageError(f"the {name} image is damaged or incomplete: its header cannot be read") from error
    if width <= 0 or height <= 0:
        raise BrokenImageError(f"the {name} image is damaged or incomplete: its size is {width} × {height}")
    return width, height


# --- JPEG, PNG, GIF, WebP ------------------------------------------------------------------------


def _jpeg_size(file: IO[bytes]) -> Size:
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        fill, marker = read_at(file, offset, 2)
        if fill != 0xFF:
            offset += 1  # what stands between segments is skipped, as decoders do
        elif marker == 0xFF:
            offset += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            offset += 2
        elif marker in (0xD9, 0xDA):
            raise ValueError("no frame before the pixels")
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", read_at(file, offset + 5, 4))
            return width, height
        else:
            offset += 2 + max(2, struct.unpack(">H", read_at(file, offset + 2, 2))[0])
    raise ValueError("too many segments")


def _png_size(file: IO[bytes], offset: int = 0) -> Size:
    head = read_at(file, offset, 24)
    if not head.startswith(_PNG) or head[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height = struct.unpack(">II", head[16:])
    return width, height


def _gif_size(file: IO[bytes]) -> Size:
    width, height = struct.unpack("<HH", read_at(file, 6, 4))
    return width, height


def _webp_size(file: IO[bytes]) -> Size:
    head = read_at(file, 12, 18)
    kind, data = head[:4], head[8:]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if kind == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no picture")


# --- BMP, icons ----------------------------------------------------------------------------------


def _dib_fields(file: IO[bytes], offset: int) -> tuple[int, int, int]:
    """Width, height (never negative) and bits per pixel of the bitmap header at `offset`."""
    (header_bytes,) = struct.unpack("<I", read_at(file, offset, 4))
    if header_bytes == 12:
        width, height, bits = struct.unpack("<HH2xH", read_at(file, offset + 4, 8))
    else:
        width, height, bits = struct.unpack("<Ii2xH", read_at(file, offset + 4, 12))
    return width, abs(height), bits


def _bmp_size(file: IO[bytes]) -> Size:
    return _dib_fields(file, 14)[:2]


def _dib_size(file: IO[bytes]) -> Size:
    return _dib_fields(file, 0)[:2]


def _icon(file: IO[bytes], size_bytes: int, offset: int) -> Icon:
    if read_at(file, offset, 8) == _PNG:
        return Icon(offset, size_bytes, *_png_size(file, offset), bits_per_pixel=32, is_png=True)
    # The colours and the mask lie one above the other in a bitmap of twice the height.
    width, height, bits = _dib_fields(file, offset)
    return Icon(offset, size_bytes, width, height // 2, bits, is_png=False)


def _icon_size(file: IO[bytes]) -> Size:
    icon = largest_icon(file)
    return icon.width, icon.height


# --- PNM -----------------------------------------------------------------------------------------


def _pnm_size(file: IO[bytes]) -> Size:
    head = read_at(file, 0, 3) + file.read(_MAX_PNM_HEADER_BYTES)
    numbers: list[int] = []
    position = 2
    while len(numbers) < 2:
        found = _PNM_NUMBER.match(head, position)
        if found is None or found.end() == len(head):
            raise EOFError
        numbers.append(int(found[1]))
        position = found.end()
    return numbers[0], numbers[1]


# --- formats of boxes: HEIF, AVIF, JPEG 2000 -----------------------------------------------------


def _boxes(file: IO[bytes], offset: int, end: int | None) -> Iterator[tuple[bytes, int, int]]:
    """The type, the start and the end of the content of each box (ISO/IEC 14496-12) between two offsets."""
    for _ in range(_MAX_BOXES):
        file.seek(offset)
        head = file.read(16)
        if len(head) < 8 or (end is not None and offset + 8 > end):
            return
        size, kind = struct.unpack(">I4s", head[:8])
        start = offset + 8
        if size == 1:
            (size,), start = struct.unpack(">Q", head[8:]), offset + 16
        if size == 0:
            size = (end if end is not None else file.seek(0, 2)) - offset
        if size < start - offset:
            raise ValueError("a box is shorter than its head")
        yield kind, start, offset + size
        offset += size


def _find_box(file: IO[bytes], kind: bytes, offset: int, end: int | None) -> tuple[int, int]:
    for found, start, stop in _boxes(file, offset, end):
        if found == kind:
            return start, stop
    raise EOFError


def _heif_size(file: IO[bytes]) -> Size:
    """The largest `ispe` property (image spatial extents, ISO/IEC 23008-12): a picture, or a tile of one."""
    meta, meta_end = _find_box(file, b"meta", 0, None)
    properties, properties_end = _find_box(file, b"iprp", meta + 4, meta_end)
    container, container_end = _find_box(file, b"ipco", properties, properties_end)
    sizes: list[Size] = [
        struct.unpack(">II", read_at(file, start + 4, 8))
        for kind, start, _stop in _boxes(file, container, container_end)
        if kind == b"ispe"
    ]
    if not sizes:
        raise ValueError("no size")
    return max(sizes, key=lambda size: size[0] * size[1])


def _jpeg2000_size(file: IO[bytes]) -> Size:
    """The larger of the size in the codestream, which is decoded, and that in the file's header."""
    if read_at(file, 0, 4) == _J2K:
        return _codestream_size(file, 0)
    sizes = []
    for kind, start, stop in _boxes(file, len(_JP2), None):
        if kind == b"jp2h":
            header, _end = _find_box(file, b"ihdr", start, stop)
            height, width = struct.unpack(">II", read_at(file, header, 8))
            sizes.append((width, height))
        elif kind == b"jp2c":
            sizes.append(_codestream_size(file, start))
            return max(sizes, key=lambda size: size[0] * size[1])
    raise EOFError


def jpeg2000_codestream(file: IO[bytes]) -> int:
    """The offset of the codestream in a JPEG 2000 file, the one that is decoded.

    Raises:
        EOFError: there is none.
        ValueError: the file's boxes are damaged.
    """
    if read_at(file, 0, 4) == _J2K:
        return 0
    return _find_box(file, b"jp2c", len(_JP2), None)[0]


def _codestream_size(file: IO[bytes], offset: int) -> Size:
    right, bottom, left, top = struct.unpack(">4I", read_at(file, offset + 8, 16))
    return right - left, bottom - top


# --- recognition ---------------------------------------------------------------------------------


def _brands(start: bytes) -> list[bytes]:
    if start[4:8] != b"ftyp":
        return []
    length = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[8:12], *(start[i : i + 4] for i in range(16, length - 3, 4))]


def _is_avif(start: bytes) -> bool:
    return any(brand in _AVIF_BRANDS for brand in _brands(start))


def _is_heif(start: bytes) -> bool:
    brands = _brands(start)
    return not _is_avif(start) and any(brand in _HEIF_BRANDS + _CONTAINER_BRANDS for brand in brands)


def _is_bmp(start: bytes) -> bool:
    return start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADER_SIZES


def _is_dib(start: bytes) -> bool:
    size = int.from_bytes(start[:4], "little")
    planes = start[8:10] if size == 12 else start[12:14]
    return size in _DIB_HEADER_SIZES and planes == b"\1\0"


def _is_icon(kind: int) -> Callable[[bytes], bool]:
    prefix = bytes((0, 0, kind, 0))
    return lambda start: start.startswith(prefix) and start[4:6] not in (b"", b"\0\0")


def _starts(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(prefixes)


def _tiff_size(file: IO[bytes]) -> Size:
    header = read_tiff_header(file)
    return header.width, header.height


# A short prefix of a format's signature is enough, so that a file cut off or garbled in transfer is called damaged.
_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[IO[bytes]], Size]], ...] = (
    ("JPEG", _starts(b"\xff\xd8"), _jpeg_size),
    ("PNG", _starts(b"\x89PNG"), _png_size),
    ("GIF", _starts(b"GIF8"), _gif_size),
    ("WEBP", lambda start: start.startswith(b"RIFF") and start[8:12] == b"WEBP", _webp_size),
    ("AVIF", _is_avif, _heif_size),
    ("HEIF", _is_heif, _heif_size),
    ("TIFF", _starts(b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+"), _tiff_size),
    ("BMP", _is_bmp, _bmp_size),
    ("ICO", _is_icon(1), _icon_size),
    ("CUR", _is_icon(2), _icon_size),
    ("JPEG2000", _starts(_JP2, _J2K), _jpeg2000_size),
    ("PPM", lambda start: re.match(rb"P[1-6f]\s+[\d#]", start) is not None, _pnm_size),
    ("DIB", _is_dib, _dib_size),
)
