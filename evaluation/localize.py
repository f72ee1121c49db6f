"""Crop photos to their subject before they are classified, with OpenCV's Haar cascades."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from core.errors import EvaluationError
from evaluation.predictions import Localizer

LOCALIZERS = ("haar",)

# The package's cascades whose objects may be the subject of a photo; there is none for dogs.
_CASCADES = ("haarcascade_frontalcatface_extended.xml", "haarcascade_frontalface_alt2.xml", "haarcascade_fullbody.xml")
# Detection works on a copy whose longer side is this, pixels.
_DETECTION_PIXELS = 480
_SMALLEST_SHARE = 0.15
# The crop is a square around the detected face, this many times its side.
_MARGIN = 2.5


def localizer(name: str) -> Localizer:
    """Returns a function that crops a photo to its largest detected object; without one the photo stays as it is.

    Raises:
        EvaluationError: OpenCV, an optional dependency, is not installed.
    """
    if name not in LOCALIZERS:
        raise EvaluationError(f"{name!r} is not one of {', '.join(LOCALIZERS)}")
    try:
        import cv2
    except ImportError as error:
        raise EvaluationError(
            "localization needs OpenCV, which is not installed: pip install opencv-python-headless"
        ) from error
    folder = Path(cv2.__file__).parent / "data"
    # A cascade keeps the image that it works on, so it must not be shared between threads.
    own = threading.local()

    def detect(grey: Any) -> tuple[int, int, int, int] | None:
        if not hasattr(own, "cascades"):
            own.cascades = [cv2.CascadeClassifier(str(folder / cascade)) for cascade in _CASCADES]
        return _largest(own.cascades, grey)

    return lambda body: _cut(body, detect)


def _largest(detectors: list[Any], grey: Any) -> tuple[int, int, int, int] | None:
    smallest = int(_SMALLEST_SHARE * min(grey.shape))
    found = [
        tuple(map(int, box))
        for detector in detectors
        for box in detector.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
    ]
    if not found:
        return None
    left, top, width, height = max(found, key=lambda box: box[2] * box[3])
    return left, top, width, height


def _cut(body: bytes, detect: Callable[[Any], tuple[int, int, int, int] | None]) -> bytes:
    try:
        with Image.open(io.BytesIO(body)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # the worker's decoder reports what is wrong with the file
        return body
    small = ImageOps.contain(upright, (_DETECTION_PIXELS, _DETECTION_PIXELS))
    box = detect(np.asarray(small.convert("L")))
    if box is None:
        return body
    scale = upright.width / small.width
    square = centred_square(upright.size, [scale * value for value in box], _MARGIN)
    file = io.BytesIO()
    upright.crop(square).save(file, "PNG", compress_level=1)
    return file.getvalue()


def centred_square(size: tuple[int, int], box: list[float], margin: float) -> tuple[int, int, int, int]:
    """A square around a box, `margin` times its longer side, moved and shrunk to lie within the photo.

    Args:
        size: the photo's width and height, pixels.
        box: left, top, width, height, pixels.

    Returns:
        left, top, right, bottom.
    """
    left, top, width, height = box
    side = min(margin * max(width, height), *size)
    corner = [
        min(max(middle - side / 2, 0.0), extent - side)
        for middle, extent in zip((left + width / 2, top + height / 2), size, strict=True)
    ]
    return round(corner[0]), round(corner[1]), round(corner[0] + side), round(corner[1] + side)
