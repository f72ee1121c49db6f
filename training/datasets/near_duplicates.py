"""Photos that are the same to the eye: other sizes, qualities or crops of one photo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Of the 64 bits of a difference hash, so many may differ between two copies of a photo.
MAX_DISTANCE_BITS = 6
_HASHED_SIDE = 64


def find_near_duplicates(photos: Sequence[Path], of: Sequence[Path]) -> set[int]:
    """Indices of those `photos` that look like one of the photos `of`; unreadable ones look like nothing.

    A photo may have been stored whole, squeezed into a square, or cut to its middle: both forms of `of` are compared.
    Some photos that only resemble each other are found, too.
    """
    if not photos or not of:
        return set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        mine = np.array(list(pool.map(lambda path: _hashes(path)[0], photos)), np.uint64)
        theirs = {number for hashes in pool.map(_hashes, of) for number in hashes if number}
    found = np.zeros(len(mine), bool)
    for number in theirs:
        distance: NDArray[np.uint8] = np.bitwise_count(mine ^ np.uint64(number))
        found |= distance <= MAX_DISTANCE_BITS
    return set(np.flatnonzero(found & (mine != 0)).tolist())


def _hashes(path: Path) -> tuple[int, int]:
    """Difference hashes of the whole photo and of its middle square, 64 bits each; 0 where there is nothing to see."""
    try:
        with Image.open(path) as opened:
            opened.draft("L", (2 * _HASHED_SIDE, 2 * _HASHED_SIDE))
            photo = ImageOps.exif_transpose(opened).convert("L")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return 0, 0
    middle = ImageOps.fit(photo, (_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BICUBIC)
    whole = photo.resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BICUBIC)
    return int(str(imagehash.dhash(whole)), 16), int(str(imagehash.dhash(middle)), 16)
