"""Load the photos that the benchmarks classify."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from api_client.image_files import collect
from local_cloud.sample_photos import from_packages

# Longer sides of the copies, pixels: ImageNet's typical 500, and that of photos prepared for web pages.
_LONG_SIDES = (500, 1000)
_JPEG_QUALITY = 90


def load_photos(folder: Path | None) -> list[bytes]:
    """Reads the images in `folder`; without a folder, makes JPEG copies of the sample photos in usual sizes.

    Raises:
        NoPhotosError: there are none.
    """
    if folder is not None:
        images, _ = collect([folder])
        return [path.read_bytes() for path in images]
    return [_resized(path, side) for side in _LONG_SIDES for path in from_packages()]


def _resized(path: Path, long_side: int) -> bytes:
    with Image.open(path) as image:
        file = io.BytesIO()
        ImageOps.contain(image.convert("RGB"), (long_side, long_side)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
