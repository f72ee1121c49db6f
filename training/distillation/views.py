"""Random views of a photo, drawn once for student and teacher: both must see the same part in the same light."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

# Inception's crop (Szegedy et al. 2015), not below a fifth of the photo: smaller parts rarely show what it is.
CROP_AREA = (0.2, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
BRIGHTNESS, SATURATION = (0.7, 1.3), (0.5, 1.5)
# The share of views with another brightness, and of those with another saturation.
CHANGED = 0.5
_TRIALS = 10
# Larger photos are shrunk first: a fifth of the area still has the pixels of a network's input.
_LARGEST_SIDE = 640
_SMALLEST_SIDE = 16

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class View:
    """A part of a photo (left, upper, right, lower, pixels), perhaps mirrored, and its brightness and saturation."""

    box: Box
    mirrored: bool = False
    brightness: float = 1.0
    saturation: float = 1.0


def draw_view(width: int, height: int, random_: random.Random) -> View:
    """Draws a random view of a photo of this size."""
    return View(
        _draw_box(width, height, random_),
        mirrored=random_.random() < CHANGED,
        brightness=random_.uniform(*BRIGHTNESS) if random_.random() < CHANGED else 1.0,
        saturation=random_.uniform(*SATURATION) if random_.random() < CHANGED else 1.0,
    )


def centre_view(width: int, height: int) -> View:
    """The largest centred square, as a worker sees a photo."""
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return View((left, upper, left + side, upper + side))


def _draw_box(width: int, height: int, random_: random.Random) -> Box:
    for _ in range(_TRIALS):
        area = width * height * random_.uniform(*CROP_AREA)
        aspect = math.exp(random_.uniform(*map(math.log, CROP_ASPECT)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            left, upper = random_.randint(0, width - wide), random_.randint(0, height - high)
            return left, upper, left + wide, upper + high
    return centre_view(width, height).box


def open_photo(path: Path) -> Image.Image:
    """Reads a photo, upright, RGB, at most 640 pixels wide and high.

    Raises:
        ValueError: it is too small to show anything.
        Exception: it cannot be decoded; Pillow's plugins raise many kinds.
    """
    with Image.open(path) as opened:
        opened.draft("RGB", (_LARGEST_SIDE, _LARGEST_SIDE))
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    if min(photo.size) < _SMALLEST_SIDE:
        raise ValueError(f"the photo is smaller than {_SMALLEST_SIDE} pixels")
    photo.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.BICUBIC)
    return photo


def render(photo: Image.Image, view: View, side: int) -> NDArray[np.uint8]:
    """Renders a view as uint8 RGB, shape (side, side, 3)."""
    part = photo.resize((side, side), Image.Resampling.BICUBIC, box=view.box)
    if view.mirrored:
        part = ImageOps.mirror(part)
    if view.brightness != 1.0:
        part = ImageEnhance.Brightness(part).enhance(view.brightness)
    if view.saturation != 1.0:
        part = ImageEnhance.Color(part).enhance(view.saturation)
    return np.asarray(part)
