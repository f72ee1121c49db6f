"""Show what each augmentation does to an image; needs TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from training.augment import make_augment
from training.inspection.pictures import Pixels

VARIANTS = 7
ORIGINAL, TOGETHER = "original", "together"


def augmented_rows(image: Pixels, names: Sequence[str], together: Sequence[str], seed: int) -> dict[str, list[Pixels]]:
    """Applies each augmentation alone to an image, and some of them together; each as often as a row has places.

    Args:
        image: a square, uint8 RGB.
        names: some of `training.config.AUGMENTATIONS`.
        together: those of the last row, as a training applies them; empty: there is no such row.

    Returns:
        Pictures of the image's size by the row's name; the first row is the image itself.
    """
    side = image.shape[0]
    keras.utils.set_random_seed(seed)
    batch = tf.constant(np.repeat(image[np.newaxis], VARIANTS, axis=0), tf.float32)
    rows = {ORIGINAL: [image]}
    combinations: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in names]
    if together:
        combinations.append((TOGETHER, tuple(together)))
    for title, chosen in combinations:
        changed = make_augment(chosen, side, seed)(batch)
        rows[title] = list(np.asarray(tf.cast(tf.round(changed), tf.uint8)))
    return rows
