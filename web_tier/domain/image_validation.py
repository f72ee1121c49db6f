"""Validation of uploaded files by their header alone; the worker checks whether the pixels decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from PIL import Image

from core.errors import EmptyImageError, ImageTooLargeError, NotAnImageError, TooManyPixelsError
from core.formats import ACCEPTED_FORMATS
from core.sizes import format_bytes

# Of the accepted formats, those that browsers show.
_BROWSER_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "ICO": "image/x-icon",
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Header of an image file: Pillow's name of the format, and the size in pixels."""

    format: str
    width: int
    height: int


def check_upload(body: IO[bytes], size_bytes: int, max_bytes: int, max_pixels: int) -> ImageHeader:
    """Checks an uploaded file against the limits; leaves `body` at its start.

    Args:
        body: the file; may be cut off where `size_bytes` is above `max_bytes`.
        size_bytes: length of the file as it was sent.
        max_bytes: limit on the file.
        max_pixels: limit on width × height.

    Raises:
        ImageError: the subclass and its sentence say why the file is rejected.
    """
    if size_bytes == 0:
        raise EmptyImageError
    if size_bytes > max_bytes:
        raise ImageTooLargeError(f"the file is larger than the limit of {format_bytes(max_bytes)}")
    try:
        header = identify(body)
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"the image has more pixels than the limit of {max_pixels:,}") from error
    if header.width * header.height > max_pixels:
        pixels = header.width * header.height
        raise TooManyPixelsError(f"the image has {pixels:,} pixels, more than the limit of {max_pixels:,}")
    return header


def identify(body: IO[bytes]) -> ImageHeader:
    """Reads the header of an image file; leaves `body` at its start.

    Raises:
        NotAnImageError: Pillow does not recognise an image of an accepted format.
        PIL.Image.DecompressionBombError: it has more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    body.seek(0)
    try:
        # Not closed, because that would close the body.
        image = Image.open(body, formats=ACCEPTED_FORMATS)
        return ImageHeader(image.format or "", image.width, image.height)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        # Pillow's plugins raise nearly every kind of exception for hostile headers; all mean the same.
        raise NotAnImageError from error
    finally:
        body.seek(0)


def browser_type(body: IO[bytes]) -> str | None:
    """The media type of an image that browsers can show, None for any other file."""
    try:
        return _BROWSER_TYPES.get(identify(body).format)
    except (NotAnImageError, Image.DecompressionBombError):
        return None
