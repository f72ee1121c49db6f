"""Views and the teacher's logits as batches for Keras: cached features of a frozen trunk, or views made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from core.errors import TrainingError
from training.architectures import Architecture
from training.distillation.config import DistillationConfig
from training.distillation.coverage import count_sure_views, describe
from training.distillation.feature_cache import cache_features
from training.distillation.photos import PhotoSet
from training.distillation.shards import Shards
from training.distillation.student import Student
from training.distillation.view_maker import CENTRE, PlannedView, ViewMaker, make_views, plan_views
from training.pipeline import to_input
from training.progress_bar import make_bar

_SCORED_BATCH = 64
_PREFETCHED_BATCHES = 4
# A resumed run begins at another pass than the run did; none has so many.
_PASSES_PER_EPOCH = 1_000_000

Batch = tuple[NDArray[Any], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class ViewDatasets:
    """Makes two data sets: endless, shuffled batches to train on, and each validation photo's central view.

    `on_coverage` is called with the number of sure views of each class (`coverage`), as soon as all views are cached.
    """

    config: DistillationConfig
    architecture: Architecture
    photos: PhotoSet
    maker: ViewMaker
    console: Console
    on_coverage: Callable[[NDArray[np.int64]], None] = lambda counts: None

    def cached(self, student: Student, cache: Path, epochs_done: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        """Batches of the student's features, which are computed first unless they are in the folder `cache` already.

        Raises:
            TrainingError: none of the photos can be read.
        """

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def features(images: Any) -> Any:
            return student.features(to_input(tf.cast(images, tf.float32), self.architecture))

        def fill(folder: Path, planned: list[PlannedView], text: str) -> Path:
            with self._bar(text, len(planned)) as advance:
                cache_features(folder, planned, self.maker, lambda images: np.asarray(features(images)), advance)
            return folder

        validation = Shards([fill(cache / "validation", self._validation_plan(), "Validation views")])
        passes = self.config.views_per_photo
        # A folder for each pass, so that a later run with more views uses these, too.
        folders = []
        for number in range(passes):
            planned = list(plan_views(self.photos.train, [number], self.config.seed))
            folders.append(fill(cache / f"pass-{number}", planned, f"Views, pass {number + 1}/{passes}"))
        views = Shards(folders)
        if not (len(views) and len(validation)):
            raise TrainingError(f"none of {len(self.photos.train)} photos, or none for validation, can be read")
        self.console.print(f"{len(views):,} views cached in {cache}", highlight=False, soft_wrap=True)
        counts = count_sure_views(views.logits, views.shapes[1][0])
        self.console.print(describe(counts, len(views)), highlight=False, soft_wrap=True)
        self.on_coverage(counts)
        in_order = _dataset(
            lambda: _read_in_order(validation), validation.shapes, tf.float16, -(-len(validation) // _SCORED_BATCH)
        )
        shuffled = _dataset(
            lambda: _read_shuffled(views, self.config.batch_size, (self.config.seed, epochs_done)),
            views.shapes,
            tf.float16,
            tf.data.INFINITE_CARDINALITY,
        )
        return shuffled.map(_to_float), in_order.map(_to_float)

    def fresh(self, epochs_done: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        """Batches of views that are made anew for each step, preprocessed for the network.

        Raises:
            TrainingError: none of the photos for validation can be read.
        """
        planned = self._validation_plan()
        with self._bar("Validation views", len(planned)) as advance:
            made = list(make_views(self.maker, planned, _SCORED_BATCH, advance))
        if not made:
            raise TrainingError(f"none of the {len(planned)} photos for validation can be read")
        shapes = (made[0].images.shape[1:], made[0].logits.shape[1:])
        validation = _dataset(lambda: ((batch.images, batch.logits) for batch in made), shapes, tf.uint8, len(made))
        training = _dataset(
            lambda: self._make_endlessly(epochs_done * _PASSES_PER_EPOCH),
            shapes,
            tf.uint8,
            tf.data.INFINITE_CARDINALITY,
        )
        return training.map(self._to_input), validation.map(self._to_input)

    def _make_endlessly(self, first_pass: int) -> Iterator[Batch]:
        planned: list[PlannedView] = []
        for view in plan_views(self.photos.train, count(first_pass), self.config.seed):
            planned.append(view)
            if len(planned) == self.config.batch_size:
                batch = self.maker.make(planned)
                planned = []
                if len(batch.images):
                    yield batch.images, batch.logits
            if len(self.maker.unreadable) >= len(self.photos.train):
                raise TrainingError("none of the photos can be read")

    def _validation_plan(self) -> list[PlannedView]:
        return [(path, CENTRE) for path in self.photos.validation]

    def _to_input(self, images: Any, logits: Any) -> tuple[Any, Any]:
        return to_input(tf.cast(images, tf.float32), self.architecture), logits

    @contextmanager
    def _bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        with make_bar(self.console) as bar:
            task = bar.add_task(text, total=total, text="")
            yield lambda done: bar.update(task, advance=done)


def _read_shuffled(views: Shards, batch_size: int, seed: tuple[int, int]) -> Iterator[Batch]:
    """Endless batches of cached views, half of each mirrored; every pass is in another order."""
    size = min(batch_size, len(views))
    for number in count():
        order = np.random.default_rng((*seed, number)).permutation(len(views))
        for start in range(0, len(order) - size + 1, size):
            features, logits = views.read(order[start : start + size])
            # Mirrored features are almost those of the mirrored view.
            features[: size // 2] = features[: size // 2, :, ::-1].copy()
            yield features, logits


def _read_in_order(views: Shards) -> Iterator[Batch]:
    for start in range(0, len(views), _SCORED_BATCH):
        yield views.read(range(start, min(start + _SCORED_BATCH, len(views))))


def _dataset(
    batches: Callable[[], Iterator[Batch]], shapes: tuple[tuple[int, ...], tuple[int, ...]], kind: Any, length: int
) -> tf.data.Dataset:
    signature = (tf.TensorSpec((None, *shapes[0]), kind), tf.TensorSpec((None, *shapes[1]), tf.float32))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(length)).prefetch(_PREFETCHED_BATCHES)


def _to_float(features: Any, logits: Any) -> tuple[Any, Any]:
    return tf.cast(features, tf.float32), logits
