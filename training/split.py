"""Split images into training, validation and test parts; pure, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from core.errors import TrainingError
from training.datasets.samples import TEST, TRAIN, VALIDATION


def split(
    labels: Sequence[int], parts: Sequence[str | None], *, validation_share: float, test_share: float, seed: int
) -> NDArray[np.str_]:
    """Assigns a part to each image, stratified by class.

    The data set's own parts are kept, and only missing parts are taken from the other images.  A data set with parts
    of its own gets no test part, since its training images are meant for training.

    Args:
        labels: class index of each image.
        parts: the data set's own part of each image, or None.
        validation_share: share of the images without a part of their own, or in the training part.
        test_share: likewise.

    Returns:
        An array of `samples.PARTS`, as long as `labels`.

    Raises:
        TrainingError: a class has too few images, or nothing is left to train on.
    """
    result = np.array([part or TRAIN for part in parts], dtype="U10")
    classes = np.asarray(labels)
    free = np.flatnonzero(result == TRAIN)
    given = set(parts) - {None}
    shares = {
        TEST: test_share if not given else 0.0,
        VALIDATION: validation_share if VALIDATION not in given else 0.0,
    }
    whole = len(free)
    for part, share in shares.items():
        if share > 0:
            free, taken = _cut(free, classes, round(share * whole), seed)
            result[taken] = part
    if not len(free):
        raise TrainingError("no image is left to train on")
    return result


def _cut(
    free: NDArray[np.intp], classes: NDArray[np.int_], count: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    try:
        kept, taken = train_test_split(free, test_size=count, random_state=seed, stratify=classes[free])
    except ValueError as error:
        fewest, number = min((n, c) for c, n in Counter(classes[free].tolist()).items())
        raise TrainingError(
            f"{len(free)} images cannot be split with each class in each part; class number {number} has {fewest}.  "
            "Give more images, or a larger --validation and --test"
        ) from error
    return np.sort(kept), np.sort(taken)
