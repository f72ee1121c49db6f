"""Plan views of photos, and make them with the teacher's answers, on all cores."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.distillation.teachers import Teacher, centred_logits
from training.distillation.views import centre_view, draw_view, open_photo, render

# A photo, and the pass over all photos that the view is for.
PlannedView = tuple[Path, int]
# The "pass" of the one view of a validation photo: its largest centred square.
CENTRE = -1


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
