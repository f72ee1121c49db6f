"""The image formats that the program accepts, by Pillow's names.

Raster formats with decoders inside Pillow.  Left out on purpose: those that start another program (EPS) or
that only refer to other content (WMF, PDF and the like).  MPO, the multi-picture JPEG of some cameras,
is opened by way of JPEG.
"""

from __future__ import annotations

ACCEPTED_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "ICO", "PPM", "AVIF", "JPEG2000")
