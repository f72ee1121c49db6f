"""Accepted image formats, by Pillow's names, and what people and file choosers call them.

All are raster formats that a library decodes in this process.  Formats that start another program (EPS) or that only
refer to other content (WMF, PDF and the like) are excluded on purpose.  MPO, the multi-picture JPEG of some cameras,
is opened by way of JPEG.
"""

from __future__ import annotations

ACCEPTED_FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "WEBP",
    "HEIF",
    "AVIF",
    "BMP",
    "DIB",
    "TIFF",
    "ICO",
    "CUR",
    "PPM",
    "JPEG2000",
)

# For messages, where the name differs from Pillow's.
_NAMES = {
    "WEBP": "WebP",
    "HEIF": "HEIC",
    "DIB": "BMP",
    "ICO": "icon",
    "CUR": "cursor",
    "PPM": "PNM",
    "JPEG2000": "JPEG 2000",
}

ACCEPTED_TEXT = "JPEG, PNG, GIF, WebP, HEIC, AVIF, TIFF, BMP, ICO, CUR, PNM and JPEG 2000"

# Endings by which a folder's images are chosen among its files.  The content decides what a file is.
FILE_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "gif", "webp", "heic", "heif", "hif", "avif"),
    *("tif", "tiff", "btf", "tf8", "bmp", "dib", "ico", "cur", "ppm", "pgm", "pbm", "pnm", "pfm", "jp2", "j2k", "jpx"),
)


def format_name(format: str) -> str:
    """The name of an accepted format in a message, such as ``JPEG 2000`` for ``JPEG2000``."""
    return _NAMES.get(format, format)
