"""Find near-duplicate photos: copies of a photo in other sizes, qualities or crops."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Copies of a photo differ in at most this many of the 64 bits of a difference hash.
MAX_DISTANCE_BITS = 6
_HASHED_SIDE = 64


def find_near_duplicates(photos: Sequence[Path], of: Sequence[Path]) -> set[int]:
    """Finds the indices of those `photos` that are near duplicates of one of the photos `of`; unreadable ones are not.

    A copy may show the whole photo, squeezed into a square, or only its middle square: both are compared.  Some photos
    that only resemble each other are found, too.
    """
    if not photos or not of:
        return set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = np.array(list(pool.map(lambda path: _hashes(path)[0], photos)), np.uint64)
        references = {number for both in pool.map(_hashes, of) for number in both if number}
    found = np.zeros(len(hashes), bool)
    for number in references:
        distance: NDArray[np.uint8] = np.bitwise_count(hashes ^ np.uint64(number))
        found |= distance <= MAX_DISTANCE_BITS
    return set(np.flatnonzero(found & (hashes != 0)).tolist())


def difference_hash(image: Image.Image) -> int:
    """The difference hash of a grey image, squeezed into a square, 64 bits; 0 if it has one colour."""
    return int(str(imagehash.dhash(image.resize((_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BICUBIC))), 16)


def groups_within(hashes: NDArray[np.uint64]) -> list[list[int]]:
    """Groups near duplicates among images by their difference hashes; 0 resembles nothing.

    Each image of a group is a near duplicate of another one of it, not of all.

    Returns:
        Groups of two and more indices, each ascending, in the order of their first image.
    """
    # Many images may share a hash; only different ones are compared, each with all others.
    values, places = np.unique(hashes, return_inverse=True)
    pairs: list[tuple[int, int]] = []
    for place, number in enumerate(values):
        if number:
            near = np.flatnonzero(np.bitwise_count(values[place + 1 :] ^ number) <= MAX_DISTANCE_BITS)
            pairs += [(place, place + 1 + int(other)) for other in near]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    graph = coo_array((np.ones(len(pairs), np.int8), (rows, columns)), (len(values), len(values)))
    _, components = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for index in np.flatnonzero(hashes).tolist():
        groups.setdefault(int(components[places[index]]), []).append(index)
    return [members for members in groups.values() if len(members) > 1]


def _hashes(path: Path) -> tuple[int, int]:
    """Difference hashes of the whole photo and of its middle square, 64 bits each; 0 if it is unreadable."""
    try:
        with Image.open(path) as opened:
            opened.draft("L", (2 * _HASHED_SIDE, 2 * _HASHED_SIDE))
            photo = ImageOps.exif_transpose(opened).convert("L")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return 0, 0
    middle = ImageOps.fit(photo, (_HASHED_SIDE, _HASHED_SIDE), Image.Resampling.BICUBIC)
    return difference_hash(photo), difference_hash(middle)
