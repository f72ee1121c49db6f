"""Decode an image file to the square of RGB pixels that a model needs."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from dataclasses import dataclass

import numpy as np
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

from core.errors import (
    BrokenImageError,
    EmptyImageError,
    ExtremeAspectError,
    ImageTooLargeError,
    NotAnImageError,
    TooManyPixelsError,
)
from core.formats import ACCEPTED_FORMATS
from core.sizes import format_bytes

# `Image.draft` lets the JPEG decoder shrink by 2, 4 or 8 while it decodes.  It may stop at twice the required
# size, so that the bicubic resize still has detail to average over.
_DRAFT_MARGIN = 2

# Pillow's decoders raise many kinds of exception for damaged data.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    NotImplementedError,
)

# EXIF's tag for how the camera was held.
_ORIENTATION = 0x0112

# Decoded images above this size are held one at a time, whatever the number of threads: a few together would not fit
# into a small instance.  A JPEG is counted as it is decoded, at reduced scale.
LARGE_PIXELS = 8_000_000
_one_large_at_a_time = threading.Lock()

# Intermediate modes that bicubic resampling handles without loss; all others become RGB or RGBA first.
_RESIZABLE_MODES = ("RGB", "L", "CMYK", "RGBA", "LA")


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on the file, on width × height, and on the longer side divided by the shorter one."""

    max_bytes: int
    max_pixels: int
    max_aspect_ratio: float


def decode_image(body: bytes, height: int, width: int, limits: DecodeLimits) -> NDArray[np.uint8]:
    """Decode the largest centred square of an image, bicubically resized, upright, as uint8 RGB.

    Every mode that Pillow reads is accepted: transparency is laid over white, of an animation the first frame
    counts, 16-bit samples keep their upper eight bits, EXIF orientation is honoured.

    Args:
        body: the file.
        height: of the result, pixels.
        width: of the result, pixels.
        limits: larger files and images are refused before they are decoded.

    Returns:
        An array of shape (height, width, 3).

    Raises:
        ImageError: the subclass says why the file cannot be classified.
    """
    if not body:
        raise EmptyImageError
    if len(body) > limits.max_bytes:
        raise ImageTooLargeError(f"the file is larger than the limit of {format_bytes(limits.max_bytes)}")
    with warnings.catch_warnings():
        # Pillow warns of large images and of odd metadata; our own limit decides on the former.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(body), formats=ACCEPTED_FORMATS) as image:
                _check_size(image.width, image.height, limits)
                # The tag is read before `draft` and resizing drop it; turning 192 pixels is cheaper than turning all.
                orientation = image.getexif().get(_ORIENTATION, 1)
                image.draft("RGB", (_DRAFT_MARGIN * width, _DRAFT_MARGIN * height))
                large = image.width * image.height > LARGE_PIXELS
                with _one_large_at_a_time if large else contextlib.nullcontext():
                    square = _resize_centre(_to_resizable(image), height, width)
        except Image.DecompressionBombError as error:
            raise TooManyPixelsError(f"the image has more pixels than the limit of {limits.max_pixels:,}") from error
        except UnidentifiedImageError as error:
            raise NotAnImageError from error
        except _DECODER_ERRORS as error:
            raise BrokenImageError(f"the image is damaged or incomplete: {_brief(error)}") from error
    return np.asarray(_turn_upright(_flatten(square), orientation))


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if width * height > limits.max_pixels:
        pixels = width * height
        raise TooManyPixelsError(f"the image has {pixels:,} pixels, more than the limit of {limits.max_pixels:,}")
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise ExtremeAspectError(f"the image is more than {limits.max_aspect_ratio:g} times as long as wide")


def _to_resizable(image: Image.Image) -> Image.Image:
    if image.mode in _RESIZABLE_MODES and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _scale_to_eight_bits(image)
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB")


def _scale_to_eight_bits(image: Image.Image) -> Image.Image:
    samples = np.asarray(image).astype(np.float32)
    if image.mode == "F" and samples.size and np.nanmax(samples) <= 1.0:
        samples = samples * 255.0
    elif samples.size and np.nanmax(samples) > 255.0:
        samples = samples / 257.0
    return Image.fromarray(np.nan_to_num(samples).clip(0, 255).astype(np.uint8))


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


def _brief(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:80]
