"""From mapped pixels to batches for a network; memory is bounded by a few batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.architectures import Architecture
from training.augment import Augment

_PREFETCHED_BATCHES = 4


def make_batches(
    pixels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    labels: NDArray[np.int_],
    architecture: Architecture,
    classes: int,
    batch_size: int,
    *,
    augment: Augment | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Batches of (images, one-hot labels), the images float32 as `architecture` wants its input.

    Args:
        pixels: as `prepare.Pixels.array`.
        rows: which of them, in which order.
        labels: class index of each of `rows`.
        shuffle_seed: gives another order in each epoch; None: keeps the order.
    """

    def read(batch: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        return pixels[rows[batch]], labels[batch].astype(np.int32)

    def feed(batch: Any) -> tuple[Any, Any]:
        images, targets = tf.numpy_function(read, [batch], [tf.uint8, tf.int32])
        images = tf.cast(tf.ensure_shape(images, (None, *pixels.shape[1:])), tf.float32)
        if augment is not None:
            images = augment(images)
        return to_input(images, architecture), tf.one_hot(tf.ensure_shape(targets, (None,)), classes)

    dataset = tf.data.Dataset.from_tensor_slices(np.arange(len(rows)))
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(rows), seed=shuffle_seed)
    # Batch normalization over a last batch of one or two images would spoil its statistics.
    dataset = dataset.batch(batch_size, drop_remainder=augment is not None and len(rows) >= batch_size)
    return dataset.map(feed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(_PREFETCHED_BATCHES)


def to_input(images: Any, architecture: Architecture) -> Any:
    """RGB 0…255 to the network's channels, with the mean taken off."""
    if architecture.channels == "BGR":
        images = images[..., ::-1]
    return images - tf.constant(architecture.subtract, tf.float32)
