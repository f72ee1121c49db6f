"""Choose the photos of a distillation: without near duplicates of those to test on, split into two parts."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from api_client.image_files import collect
from core.errors import TrainingError
from training.datasets.near_duplicates import find_near_duplicates
from training.distillation.config import DistillationConfig

# For validation: a share of the photos, but never more than these.
_VALIDATION_SHARE, _MOST_VALIDATION_PHOTOS = 0.04, 2000


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Photos for training and for validation; `near_duplicates` of excluded ones are in neither.

    `digest` changes with any photo's path, size or modification time.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    near_duplicates: tuple[Path, ...]
    digest: str


def choose_photos(config: DistillationConfig) -> PhotoSet:
    """Collects the photos, leaves out near duplicates of excluded ones, and splits the others.

    Raises:
        NoPhotosError: there is none.
        TrainingError: fewer than two are left.
    """
    found = sorted({path.resolve() for path in collect([Path(path) for path in config.photos])[0]})
    excluded: set[int] = set()
    if config.exclude:
        excluded = find_near_duplicates(found, collect([Path(path) for path in config.exclude])[0])
    kept = [path for index, path in enumerate(found) if index not in excluded]
    if len(kept) < 2:
        raise TrainingError(f"{len(kept)} photos are left; distillation needs at least two, better 100,000")
    random.Random(config.seed).shuffle(kept)  # noqa: S311 - repeatable, not secret
    count = min(_MOST_VALIDATION_PHOTOS, max(1, round(_VALIDATION_SHARE * len(kept))))
    digest = hashlib.blake2b(digest_size=12)
    for path in kept:
        status = path.stat()
        digest.update(f"{path}\t{status.st_size}\t{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return PhotoSet(
        tuple(kept[count:]), tuple(kept[:count]), tuple(found[index] for index in sorted(excluded)), digest.hexdigest()
    )
