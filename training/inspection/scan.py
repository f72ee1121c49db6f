"""Scan a data set: decode each image once as a worker does, and note its size, format and hashes."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from core.errors import ImageError, TrainingError
from core.image_header import read_header
from training.datasets.samples import Sample
from training.prepare import decode_limits, decode_sample

if TYPE_CHECKING:
    from app_tier.decode import DecodeLimits

# Images with the same pixels at this size are exact duplicates; the default side of a training from ImageNet's weights.
SCANNED_SIDE = 160
_ARRAY_FORMAT = "pixels"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image of a data set.

    Attributes:
        width: as stored in the file, before any turn; 0 if its header cannot be read.
        format: Pillow's name of the format; empty if unknown.
        size_bytes: of the file; 0 for an image in an archive.
        digest: of the decoded pixels; empty if the image is broken.
        difference_hash: 64 bits; 0 if the image is broken or has one colour.
        problem: why the image cannot be decoded; empty if it can.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    size_bytes: int = 0
    digest: str = ""
    difference_hash: int = 0
    problem: str = ""


def scan(samples: Sequence[Sample], advance: Callable[[int], None]) -> list[ImageFacts]:
    """Scans the images of a data set on all cores; memory is needed for one image for each core.

    Args:
        advance: called with the number of images scanned since the last call.

    Raises:
        TrainingError: ImageHash is not installed.
    """
    if importlib.util.find_spec("imagehash") is None:
        raise TrainingError("this needs ImageHash, which is not installed; `make setup` installs it")
    facts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for each in pool.map(partial(_scan_one, limits=decode_limits()), samples):
            facts.append(each)
            advance(1)
    return facts


def _scan_one(sample: Sample, limits: DecodeLimits) -> ImageFacts:
    from training.datasets.near_duplicates import difference_hash

    width, height, kind, size_bytes = 0, 0, "", 0
    try:
        if sample.path is not None:
            body = sample.path.read_bytes()
            size_bytes = len(body)
            header = read_header(io.BytesIO(body))
            width, height, kind = header.width, header.height, header.format
        elif sample.pixels is not None:
            height, width, kind = *sample.pixels.shape[:2], _ARRAY_FORMAT
        pixels = decode_sample(sample, SCANNED_SIDE, limits)
    except (ImageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return ImageFacts(width, height, kind, size_bytes, problem=reason)
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
    return ImageFacts(width, height, kind, size_bytes, digest, difference_hash(Image.fromarray(pixels).convert("L")))
