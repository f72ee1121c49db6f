"""Validation of uploaded files by their header alone; the worker checks whether the pixels decode."""

from __future__ import annotations

from typing import IO

from core.errors import EmptyImageError, ImageError, ImageTooLargeError, TooManyPixelsError
from core.image_header import ImageHeader, read_header
from core.sizes import format_bytes

# Of the accepted formats, those that browsers show.
_BROWSER_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "ICO": "image/x-icon",
    "CUR": "image/x-icon",
}


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
    header = read_header(body)
    if header.width * header.height > max_pixels:
        pixels = header.width * header.height
        raise TooManyPixelsError(f"the image has {pixels:,} pixels, more than the limit of {max_pixels:,}")
    return header


def browser_type(body: IO[bytes]) -> str | None:
    """The media type of an image that browsers can show, None for any other file."""
    try:
        return _BROWSER_TYPES.get(read_header(body).format)
    except ImageError:
        return None
