"""Open a TIFF so that each layout of pixels is either read rightly or refused.

Pillow reads what has at most eight bits per sample, with every compression of libtiff, and gray and colour of 16 bits
where the samples of a pixel lie together.  It misreads others without an error: inverted 16-bit gray, planes of 16
bits, subsampled colour differences without compression.  tifffile reads all of those, of few compressions.  What
neither reads rightly is refused; `tests/unit/test_decode_tiff.py` has the table.
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, _imaging

from app_tier.sample_range import scale, to_eight_bits
from core.errors import BrokenImageError, TooManyPixelsError, UnsupportedImageError
from core.tiff_header import TiffHeader, read_tiff_header

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_UNCOMPRESSED = 1
# No compression, and the two numbers of Deflate: what tifffile reads without further packages.
_TIFFFILE_COMPRESSIONS = (_UNCOMPRESSED, 8, 32946)
# The wheels of Pillow come without this one.
_TIFF_WEBP = 50001
_PLANAR = 2
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_ORIENTATION = 0x0112
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_PILLOW_PHOTOMETRICS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB)
# Bytes of a decoded image for each pixel of the limit: 16-bit colour with transparency.
_MAX_BYTES_PER_PIXEL = 8


def silence_libtiff() -> None:
    """Keep libtiff, which is part of Pillow, from writing what it thinks of damaged files to standard error."""
    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetWarningHandler", "TIFFSetErrorHandler"):
        if (set_handler := getattr(library, name, None)) is not None:
            set_handler.argtypes, set_handler.restype = (ctypes.c_void_p,), ctypes.c_void_p
            set_handler(None)


def open_tiff(body: bytes, max_pixels: int) -> Image.Image:
    """Open the first image of a TIFF.

    Args:
        body: the file.
        max_pixels: limit on width × height; the decoded samples may take eight bytes for each.

    Raises:
        UnsupportedImageError: its layout cannot be read; the message names it.
        TooManyPixelsError: its samples would take too much memory.
        BrokenImageError: it is damaged.
    """
    header = read_tiff_header(io.BytesIO(body))
    if _is_for_tifffile(header):
        return _read_with_tifffile(body, header, max_pixels)
    if not _is_for_pillow(header):
        raise _unsupported(header)
    try:
        image: Image.Image = TiffImagePlugin.TiffImageFile(io.BytesIO(body))
    except SyntaxError as error:
        if "unknown" in str(error):  # "unknown pixel mode", "unknown data organization"
            raise _unsupported(header) from error
        raise
    return _as_eight_bits(image, header) if max(header.bits) > 8 else image


def _is_for_tifffile(header: TiffHeader) -> bool:
    colours = _COLOURS.get(header.photometric)
    return (
        colours is not None
        and colours <= header.samples
        and header.compression in _TIFFFILE_COMPRESSIONS
        and len(set(header.bits)) == len(set(header.sample_formats)) == 1
        and header.sample_formats[0] in (_UNSIGNED, _SIGNED, _FLOAT)
        and header.bits[0] in (8, 16, 32, 64)
        and not (header.bits[0] == 8 and header.sample_formats[0] == _UNSIGNED and _is_plain(header))
    )


def _is_plain(header: TiffHeader) -> bool:
    """Whether Pillow knows this layout of eight unsigned bits."""
    little_or_classic = header.is_little_endian or not header.is_big
    return little_or_classic and header.planar != _PLANAR and header.samples <= _COLOURS[header.photometric] + 1


def _is_for_pillow(header: TiffHeader) -> bool:
    if header.compression not in TiffImagePlugin.COMPRESSION_INFO or header.compression == _TIFF_WEBP:
        return False
    if set(header.sample_formats) != {_UNSIGNED} or header.photometric not in _PILLOW_PHOTOMETRICS:
        return False
    if header.is_big and not header.is_little_endian:
        return False
    compressed = header.compression != _UNCOMPRESSED
    if header.photometric == _YCBCR and header.samples > 1 and not compressed and header.subsampling[:2] != (1, 1):
        return False
    if max(header.bits) <= 8:
        has_extra = header.photometric != _RGB and header.samples > _COLOURS.get(header.photometric, 3)
        return header.planar != _PLANAR or (compressed and not has_extra)
    if header.bits == (12,):
        packed = header.is_little_endian and header.planar != _PLANAR and not compressed
        return packed and header.photometric == _BLACK_IS_ZERO
    deep = set(header.bits) == {16} and (header.planar != _PLANAR or header.samples == 1)
    return deep and header.photometric in (_BLACK_IS_ZERO, _RGB, _CMYK)


def _as_eight_bits(image: Image.Image, header: TiffHeader) -> Image.Image:
    """Scale what Pillow has read of more than eight bits; of colour it keeps the upper eight."""
    image.load()
    orientation = image.getexif().get(_ORIENTATION, 1)
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
        scaled = Image.fromarray(scale(samples, 0, 4095) if header.bits == (12,) else to_eight_bits(samples))
    else:
        most = max(high for _low, high in image.getextrema()[: _COLOURS[header.photometric]])  # type: ignore[misc]
        if 0 < most < 64:
            raise UnsupportedImageError(
                "the TIFF image has a layout that cannot be read: compressed colour of at most 14 bits in 16"
            )
        scaled = image
    scaled.getexif()[_ORIENTATION] = orientation
    return scaled


def _read_with_tifffile(body: bytes, header: TiffHeader, max_pixels: int) -> Image.Image:
    import tifffile  # takes a quarter of a second, and few files ask for it

    size_bytes = header.width * header.height * header.samples * header.bits[0] // 8
    limit_bytes = _MAX_BYTES_PER_PIXEL * max_pixels
    if size_bytes > limit_bytes:
        raise TooManyPixelsError(
            f"the image has {size_bytes:,} bytes of samples, more than the limit of {limit_bytes:,}"
        )
    try:
        with tifffile.TiffFile(io.BytesIO(body)) as file:
            page = file.pages.first
            if not _is_inside(page.dataoffsets, page.databytecounts, len(body)):
                raise BrokenImageError("the TIFF image is damaged or incomplete: it ends before its last row")
            samples = page.asarray(squeeze=False, maxworkers=1)
    except ValueError as error:
        if "imagecodecs" in str(error):  # what tifffile leaves to another package, such as a predictor
            raise _unsupported(header) from error
        raise
    planes, depth, height, width, together = samples.shape
    if depth != 1:
        raise UnsupportedImageError("the TIFF image has a layout that cannot be read: it has three dimensions")
    samples = np.moveaxis(samples[:, 0], 0, -1).reshape(height, width, planes * together)
    image = _picture(samples, header)
    image.getexif()[_ORIENTATION] = header.orientation
    return image


def _picture(samples: NDArray[np.generic], header: TiffHeader) -> Image.Image:
    """Build an image of eight bits from samples of shape (height, width, samples per pixel)."""
    count = _COLOURS[header.photometric]
    colours = to_eight_bits(samples[..., :count])
    if header.photometric == _WHITE_IS_ZERO:
        colours = np.uint8(255) - colours
    alpha = _alpha(samples, header, count)
    if header.photometric == _CMYK:
        return Image.fromarray(np.ascontiguousarray(colours), "CMYK")
    if count == 1:
        colours = np.repeat(colours, 3, axis=-1) if alpha is not None else colours[..., 0]
    if alpha is None:
        return Image.fromarray(np.ascontiguousarray(colours))
    whole = np.concatenate([colours, alpha[..., np.newaxis]], axis=-1)
    is_associated = header.extra_samples[0] == _ASSOCIATED_ALPHA
    return Image.frombytes("RGBa" if is_associated else "RGBA", (samples.shape[1], samples.shape[0]), whole.tobytes())


def _alpha(samples: NDArray[np.generic], header: TiffHeader, count: int) -> NDArray[np.uint8] | None:
    if header.samples <= count or header.extra_samples[:1] not in ((_ASSOCIATED_ALPHA,), (_UNASSOCIATED_ALPHA,)):
        return None
    alpha = samples[..., count]
    # Opaque is the largest value of the type, whatever occurs in the image.
    opaque = 1.0 if alpha.dtype.kind == "f" else float(np.iinfo(alpha.dtype).max)  # type: ignore[type-var]
    return scale(alpha, 0.0, opaque)


def _is_inside(offsets: Sequence[int], sizes: Sequence[int], file_bytes: int) -> bool:
    return all(offset >= 0 and offset + size <= file_bytes for offset, size in zip(offsets, sizes, strict=True))


_PHOTOMETRIC_NAMES = {
    _WHITE_IS_ZERO: "gray, inverted",
    _BLACK_IS_ZERO: "gray",
    _RGB: "RGB",
    _PALETTE: "palette",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _LAB: "L*a*b*",
    9: "L*a*b*",
    10: "L*a*b*",
    32803: "raw samples of a camera's sensor",
    34892: "raw samples of a camera's sensor",
}
_FORMAT_NAMES = {_UNSIGNED: "", _SIGNED: " signed", _FLOAT: " floating-point"}


def _unsupported(header: TiffHeader) -> UnsupportedImageError:
    return UnsupportedImageError(f"the TIFF image has a layout that cannot be read: {_describe(header)}")


def _describe(header: TiffHeader) -> str:
    """The layout in words, such as ``RGB, 3 planes of 16 bits, compression 5``."""
    colour = _PHOTOMETRIC_NAMES.get(header.photometric, f"photometric {header.photometric}")
    kind = _FORMAT_NAMES.get(header.sample_formats[0], f" format-{header.sample_formats[0]}")
    arrangement = "planes" if header.planar == _PLANAR else "samples"
    widths = "/".join(str(bits) for bits in sorted(set(header.bits)))
    order = "" if header.is_little_endian else ", big-endian"
    big = ", BigTIFF" if header.is_big else ""
    return (
        f"{colour}, {header.samples}{kind} {arrangement} of {widths} bits, compression {header.compression}{order}{big}"
    )
