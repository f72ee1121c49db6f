"""Decode an image file to the square of RGB pixels that a model needs."""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pillow_heif
from numpy.typing import NDArray

# Importing a plugin registers its format; `Image.init` would load forty more at every start of a worker.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app_tier.decode_bitmap import open_bitmap, open_icon
from app_tier.decode_jpeg import load_incomplete
from app_tier.decode_memory import decode_memory, decoding_bytes
from app_tier.decode_png import without_long_metadata
from app_tier.decode_tiff import open_tiff, silence_libtiff
from app_tier.sample_range import to_eight_bits
from core.errors import (
    BrokenImageError,
    EmptyImageError,
    ExtremeAspectError,
    ImageError,
    ImageTooLargeError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from core.formats import format_name
from core.image_header import ImageHeader, read_header, recognize
from core.settings import Settings
from core.sizes import format_bytes

# `Image.draft` lets the JPEG decoder shrink by 2, 4 or 8 while it decodes.  It may stop at twice the required
# size, so that the bicubic resize still has detail to average over.
_DRAFT_MARGIN = 2

# EXIF's tag for how the camera was held.
_ORIENTATION = 0x0112

# libavif decodes the frame of a file at its own size, up to 268 megapixels, and only then scales it to the size in the
# header; other libraries refuse a file whose sizes differ.  Such formats belong into a process with a limit.
_FORMATS_OF_ANY_SIZE = ("AVIF",)

# Intermediate modes that bicubic resampling handles without loss; all others become RGB or RGBA first.
_RESIZABLE_MODES = ("RGB", "L", "CMYK", "RGBA", "LA")

# An embedded thumbnail may differ from its picture.  Other images are decoded in other threads meanwhile.
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)

# What decoders say about a damaged file is in the result; the log has room for the worker's own trouble.
for _name in ("PIL", "tifffile"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
silence_libtiff()


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on the file, on width × height, and on the longer side divided by the shorter one.

    `memory_bytes` is the limit on what all images take together that this process is decoding.
    """

    max_bytes: int
    max_pixels: int
    max_aspect_ratio: float
    memory_bytes: int = Settings().decode_memory_bytes


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright square, uint8 RGB of shape (height, width, 3), and a remark on the file where it was incomplete."""

    pixels: NDArray[np.uint8]
    note: str = ""


def decode_image(body: bytes, height: int, width: int, limits: DecodeLimits) -> NDArray[np.uint8]:
    """Decode the pixels of an image file; as `decode_file`, without the remark."""
    return decode_file(body, height, width, limits).pixels


def decode_file(body: bytes, height: int, width: int, limits: DecodeLimits) -> DecodedImage:
    """Decode the largest centred square of an image, bicubically resized, upright, as uint8 RGB.

    Transparency is laid over white, of an animation the first frame counts, of several pages the first, of an icon the
    largest picture; orientation is honoured.  Samples of more than eight bits are scaled as `app_tier.sample_range`
    documents.  A layout that would be misread is refused.

    Args:
        body: the file.
        height: of the result, pixels.
        width: of the result, pixels.
        limits: larger files and images are refused before they are decoded.

    Raises:
        ImageError: the subclass says why the file cannot be classified, whatever its decoder raised.
        MemoryError: there is too little memory; the file may be fine.
    """
    if not body:
        raise EmptyImageError
    if len(body) > limits.max_bytes:
        raise ImageTooLargeError(f"the file is larger than the limit of {format_bytes(limits.max_bytes)}")
    header = read_header(io.BytesIO(body))
    _check_size(header.width, header.height, limits)
    with warnings.catch_warnings():
        # Pillow warns of large images and of odd metadata; our own limit decides on the former.
        warnings.simplefilter("ignore")
        try:
            return _decode(header, body, height, width, limits)
        except (ImageError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise TooManyPixelsError(f"the image has more pixels than the limit of {limits.max_pixels:,}") from error
        except Exception as error:  # decoders raise every kind of exception for damaged data
            raise _refusal(header.format, error) from error


def needs_own_process(body: bytes) -> bool:
    """Whether a file's header cannot say how much memory its decoder will take."""
    return recognize(body) in _FORMATS_OF_ANY_SIZE


def _decode(header: ImageHeader, body: bytes, height: int, width: int, limits: DecodeLimits) -> DecodedImage:
    draft_size = (_DRAFT_MARGIN * width, _DRAFT_MARGIN * height)
    while True:
        needed_bytes = decoding_bytes(header, body, draft_size)
        if needed_bytes > limits.memory_bytes:
            raise TooManyPixelsError(
                f"decoding the image takes up to {format_bytes(needed_bytes)} of memory, more than the limit of"
                f" {format_bytes(limits.memory_bytes)}"
            )
        with decode_memory.reserve(needed_bytes, limits.memory_bytes):
            try:
                found = _decode_once(header, body, height, width, limits)
            except Exception as error:
                traceback.clear_frames(error.__traceback__)  # they refer to the picture
                raise
        if isinstance(found, DecodedImage):
            return found
        header = found


def _decode_once(
    header: ImageHeader, body: bytes, height: int, width: int, limits: DecodeLimits
) -> DecodedImage | ImageHeader:
    """Decode an image, or return a header with the size that its decoder sees, where that is larger.

    A GIF's frame may be larger than its screen.
    """
    with _open(header.format, body, limits) as image:
        _check_size(image.width, image.height, limits)
        if image.width * image.height > header.width * header.height:
            return replace(header, width=image.width, height=image.height)
        return _load(image, header.format, body, height, width)


def _load(image: Image.Image, format: str, body: bytes, height: int, width: int) -> DecodedImage:
    draft_size = (_DRAFT_MARGIN * width, _DRAFT_MARGIN * height)
    note = ""
    image.draft("RGB", draft_size)
    try:
        image.load()
    except OSError:
        if format != "JPEG":
            raise
        loaded, note = load_incomplete(body, draft_size)
    else:
        loaded = image
    # After `load`, which turns a TIFF and a HEIC itself; turning the small square is cheaper than turning all.
    orientation = _orientation(loaded)
    square = _resize_centre(_to_resizable(loaded), height, width)
    return DecodedImage(np.asarray(_turn_upright(_flatten(square), orientation)), note)


def _open(format: str, body: bytes, limits: DecodeLimits) -> Image.Image:
    if format == "TIFF":
        return open_tiff(body, limits.max_pixels)
    if format in ("ICO", "CUR"):
        return open_icon(body)
    if format in ("BMP", "DIB"):
        return open_bitmap(format, body)
    if format == "PNG":
        body = without_long_metadata(body)
    return Image.open(io.BytesIO(body), formats=(format,))


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        pixels = width * height
        raise TooManyPixelsError(f"the image has {pixels:,} pixels, more than the limit of {limits.max_pixels:,}")
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise ExtremeAspectError(f"the image is more than {limits.max_aspect_ratio:g} times as long as wide")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata; browsers show such a picture as it is stored
        return 1


def _to_resizable(image: Image.Image) -> Image.Image:
    if image.mode in _RESIZABLE_MODES and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        samples = np.asarray(image)
        # In mode I are the 16 bits of a PNM; Pillow has scaled them already.
        return Image.fromarray(to_eight_bits(samples.astype(np.uint16) if image.mode == "I" else samples))
    if image.mode == "La":
        return image.convert("LA")
    if "transparency" in image.info or image.mode in ("PA", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB")


def _resize_centre(image: Image.Image, height: int, width: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    return image.convert("RGB")


def _turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    if orientation not in range(2, 9):
        return image
    image.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _refusal(format: str, error: Exception) -> ImageError:
    name, text = format_name(format), (str(error).splitlines() or [""])[0][:80]
    if isinstance(error, NotImplementedError) or "nsupported" in text:
        return UnsupportedImageError(f"the {name} image has a layout that cannot be read: {text}")
    if isinstance(error, UnidentifiedImageError):
        text = "its header cannot be read"
    return BrokenImageError(f"the {name} image is damaged or incomplete: {text or type(error).__name__}")
