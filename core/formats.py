"""Accepted image formats, by Pillow's names.

All are raster formats that Pillow decodes itself.  Formats that start another program (EPS) or that only refer to
other content (WMF, PDF and the like) are excluded on purpose.  MPO, the multi-picture JPEG of some cameras,
is opened by way of JPEG.
"""

from __future__ import annotations

ACCEPTED_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "ICO", "PPM", "AVIF", "JPEG2000")
