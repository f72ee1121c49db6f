"""Choose the photos of a distillation, and make views of them with the teacher's answers."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api_client.image_files import collect
from core.errors import TrainingError
from training.datasets.near_duplicates import find_near_duplicates
from training.distillation.config import DistillationConfig
from training.distillation.teachers import Teacher, centred_logits
from training.distillation.views import centre_view, draw_view, open_photo, render

# For validation: a share of the photos, but never more than these.
_VALIDATION_SHARE, _MOST_VALIDATION_PHOTOS = 0.04, 2000
# The "pass" of the one view of a validation photo: its largest centred square.
CENTRE = -1

PlannedView = tuple[Path, int]


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


def plan_views(photos: Sequence[Path], passes: Iterable[int], seed: int) -> Iterator[PlannedView]:
    """Yields a view of each photo for each pass, each pass in another order."""
    for pass_ in passes:
        order = list(photos)
        random.Random(f"{seed} {pass_}").shuffle(order)  # noqa: S311 - repeatable, not secret
        yield from ((path, pass_) for path in order)


@dataclass(frozen=True, slots=True)
class ViewBatch:
    """Views for the student, uint8 RGB (views, side, side, 3), and the teacher's centred logits (views, classes)."""

    images: NDArray[np.uint8]
    logits: NDArray[np.float32]


@dataclass(slots=True)
class ViewMaker:
    """Renders planned views and asks the teacher, on all cores.

    Attributes:
        unreadable: the reason for each photo that cannot be decoded; it is left out.
    """

    teacher: Teacher
    side: int
    seed: int
    unreadable: dict[Path, str] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(os.cpu_count()))

    def make(self, planned: Sequence[PlannedView]) -> ViewBatch:
        """Makes a batch of the readable ones among the planned views; perhaps of none."""
        made = [views for views in self._pool.map(self._render, planned) if views is not None]
        if not made:
            empty = np.empty((0, self.side, self.side, 3), np.uint8)
            return ViewBatch(empty, np.empty((0, len(self.teacher.labels)), np.float32))
        images, theirs = zip(*made, strict=True)
        return ViewBatch(np.stack(images), centred_logits(self.teacher.probabilities(theirs)))

    def _render(self, planned: PlannedView) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        path, pass_ = planned
        try:
            photo = open_photo(path)
        except Exception as error:
            self.unreadable[path] = str(error).splitlines()[0] if str(error) else type(error).__name__
            return None
        return self._views(photo, path, pass_)

    def _views(self, photo: Image.Image, path: Path, pass_: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if pass_ == CENTRE:
            view = centre_view(*photo.size)
        else:
            view = draw_view(*photo.size, random.Random(f"{self.seed} {path} {pass_}"))  # noqa: S311 - not secret
        return render(photo, view, self.side), render(photo, view, self.teacher.input.height)


def make_views(
    maker: ViewMaker, planned: Sequence[PlannedView], batch_size: int, advance: Callable[[int], None]
) -> Iterator[ViewBatch]:
    """Makes planned views batch by batch, so that memory holds one batch only."""
    for start in range(0, len(planned), batch_size):
        chunk = planned[start : start + batch_size]
        batch = maker.make(chunk)
        advance(len(chunk))
        if len(batch.images):
            yield batch
