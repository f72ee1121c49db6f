"""Decode each image once into a memory-mapped file of pixels, and find duplicate images.

Every epoch then reads pixels instead of files; the operating system caches as much of them as fits into memory.
Images are decoded by the worker's own code, so that training and service see the same pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app_tier.decode import DecodeLimits, decode_image
from core.errors import ImageError
from core.settings import Settings
from training.datasets.samples import TEST, TRAIN, VALIDATION, Sample

# Of duplicates, the one in the part with the lowest number is kept.
_PRECEDENCE = {TEST: 0, VALIDATION: 1, TRAIN: 2, None: 2}


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded images, in the order of the samples.

    Args:
        array: uint8 RGB, shape (samples, side, side, 3); black if an image cannot be read.
        digests: of each image's pixels; empty if it cannot be read.
        unreadable: the reason, by the sample's index.
    """

    array: NDArray[np.uint8]
    digests: tuple[str, ...]
    unreadable: dict[int, str]


def prepare(samples: Sequence[Sample], side: int, cache: Path, advance: Callable[[int], None]) -> Pixels:
    """Decodes `samples` to squares of `side` pixels, unless they are in `cache` already.

    Needs memory for one image for each core, whatever the number of samples.

    Args:
        advance: called with the number of images decoded since the last call.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = cache / f"pixels-{_key(samples, side)}"
    array_path, facts_path = stem.with_suffix(".npy"), stem.with_suffix(".json")
    # The facts are written last: if they exist, the pixels are complete.
    if not facts_path.exists():
        part = stem.with_suffix(f".part{os.getpid()}")
        try:
            facts = _decode_all(samples, side, part, advance)
            part.replace(array_path)
            part.write_text(json.dumps(facts), "utf-8")
            part.replace(facts_path)
        finally:
            part.unlink(missing_ok=True)
    facts = json.loads(facts_path.read_text("utf-8"))
    unreadable = {int(index): reason for index, reason in facts["unreadable"].items()}
    return Pixels(np.load(array_path, mmap_mode="r"), tuple(facts["digests"]), unreadable)


def find_duplicates(labels: Sequence[int], parts: Sequence[str | None], digests: Sequence[str]) -> dict[int, int]:
    """Finds images with the same pixels; returns the index of each one to leave out, with that of its duplicate.

    Of equal images a test image is kept rather than a validation image, and that rather than a training image, so that
    no model is tested on its training images.  A data set's own test images are all kept, so that figures stay
    comparable with published ones.  Equal images with different labels are all left out of training and validation:
    one of the labels is wrong.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        if digest:
            groups[digest].append(index)
    left_out: dict[int, int] = {}
    for group in groups.values():
        if len(group) == 1:
            continue
        first, *others = sorted(group, key=lambda index: (_PRECEDENCE[parts[index]], index))
        left_out |= {index: first for index in others if parts[index] != TEST}
        if len({labels[index] for index in group}) > 1 and parts[first] != TEST:
            left_out[first] = others[0]
    return left_out


def _key(samples: Sequence[Sample], side: int) -> str:
    """The cache key: changes with a file's size or modification time, or with pixels."""
    key = hashlib.blake2b(f"1 {side}".encode(), digest_size=12)
    for sample in samples:
        key.update(f"\n{sample.name}\t{sample.path}".encode())
        if sample.pixels is not None:
            key.update(sample.pixels.tobytes())
        elif sample.path is not None and sample.path.exists():
            status = sample.path.stat()
            key.update(f"\t{status.st_size}\t{status.st_mtime_ns}".encode())
    return key.hexdigest()


def _decode_all(samples: Sequence[Sample], side: int, path: Path, advance: Callable[[int], None]) -> dict[str, object]:
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (len(samples), side, side, 3))
    limits = decode_limits()
    digests = [""] * len(samples)
    unreadable: dict[int, str] = {}

    def decode(index: int) -> None:
        try:
            array[index] = pixels = decode_sample(samples[index], side, limits)
        except (ImageError, OSError) as error:
            unreadable[index] = str(error)
        else:
            digests[index] = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(samples))):
            advance(1)
    array.flush()
    return {"digests": digests, "unreadable": unreadable}


def decode_limits() -> DecodeLimits:
    """The limits of a worker with default settings."""
    settings = Settings()
    return DecodeLimits(settings.max_image_bytes, settings.max_image_pixels, settings.max_aspect_ratio)


def decode_sample(sample: Sample, side: int, limits: DecodeLimits) -> NDArray[np.uint8]:
    """Decodes an image to a square of `side` pixels, uint8 RGB.

    Raises:
        ImageError: it cannot be decoded.
        OSError: its file cannot be read.
    """
    if sample.path is not None:
        return decode_image(sample.path.read_bytes(), side, side, limits)
    assert sample.pixels is not None  # noqa: S101 - a sample has the one or the other
    if sample.pixels.shape[:2] == (side, side):
        return sample.pixels
    return np.asarray(Image.fromarray(sample.pixels).resize((side, side), Image.Resampling.BICUBIC))
