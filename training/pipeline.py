"""Make batches for a network from memory-mapped pixels; memory is bounded by a few batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.architectures import Architecture
from training.augment import Augment
from training.source_prior import SourcePriors

_PREFETCHED_BATCHES = 4


def make_batches(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    labels: NDArray[np.int_],
    architecture: Architecture,
    classes: int,
    batch_size: int,
    *,
    priors: SourcePriors | None = None,
    augment: Augment | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Makes batches of (images, one-hot labels), the images preprocessed to float32 for `architecture`.

    With `priors` the labels have the form that `source_prior.SourcePriorCrossentropy` takes.

    Args:
        pixels: as `prepare.Pixels.array`.
        rows: the images to use, in their order.
        labels: class index of each of `rows`.
        priors: log priors of each of `rows`.
        shuffle_seed: seed of a new order in each epoch; None: keeps the order.
    """

    target_shape = (classes,) if priors is None else (2, classes)

    def read(batch: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        one_hot = np.eye(classes, dtype=np.float32)[labels[batch]]
        targets = one_hot if priors is None else np.stack([one_hot, priors.table[priors.rows[batch]]], axis=1)
        return pixels[rows[batch]], targets

    def feed(batch: Any) -> tuple[Any, Any]:
        images, targets = tf.numpy_function(read, [batch], [tf.uint8, tf.float32])
        images = tf.cast(tf.ensure_shape(images, (None, *pixels.shape[1:])), tf.float32)
        if augment is not None:
            images = augment(images)
        return to_input(images, architecture), tf.ensure_shape(targets, (None, *target_shape))

    dataset = tf.data.Dataset.from_tensor_slices(np.arange(len(rows)))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(rows), seed=shuffle_seed)
    # Batch normalization over a last batch of one or two images would spoil its statistics.
    dataset = dataset.batch(batch_size, drop_remainder=augment is not None and len(rows) >= batch_size)
    return dataset.map(feed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(_PREFETCHED_BATCHES)


def to_input(images: Any, architecture: Architecture) -> Any:
    """Converts RGB 0…255 to the network's channel order, and subtracts its mean."""
    if architecture.channels == "BGR":
        images = images[..., ::-1]
    return images - tf.constant(architecture.subtract, tf.float32)
