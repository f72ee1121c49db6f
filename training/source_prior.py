"""Where data sets are mixed: what a photo's source says of its class must not be learned from how it looks.

Sources differ in sharpness, JPEG traces, aliasing and background, and each has some of the classes only.  Trained on
them plainly, a network asks first which source a photo is from.  So it is told: the loss adds log P(class | source) to
the network's own logits, and there is nothing left to gain from guessing the source.  In service nothing is added.
Source: Menon et al., Long-tail learning via logit adjustment, ICLR 2021, here for each source by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# The log prior of a class that a source lacks, counted from the mean of those that it has.  Unlikely, but never
# impossible: else a source of a single class would teach nothing, and classes of different sources would never be told
# apart.
MARGIN = -5.0


@dataclass(frozen=True, slots=True)
class SourcePriors:
    """What the source of each image says of the classes.

    Args:
        table: log priors, float32 of shape (sources, classes).
        rows: for each image its row in `table`.
    """

    table: NDArray[np.float32]
    rows: NDArray[np.intp]


def log_priors(labels: Sequence[int], sources: Sequence[str], classes: int, margin: float = MARGIN) -> SourcePriors:
    """The log of each class's share among the images of a source.

    Args:
        labels: class index of each image.
        sources: the source of each image; what has none ("") gets zeros, which say nothing.
        margin: of a class that the source lacks; see `MARGIN`.
    """
    names, rows = np.unique(np.asarray(sources), return_inverse=True)
    table = np.zeros((len(names), classes), np.float32)
    for row, name in enumerate(names):
        if name:
            counts = np.bincount(np.asarray(labels)[rows == row], minlength=classes)
            logs = np.log(np.maximum(counts, 1) / counts.sum())
            table[row] = np.where(counts > 0, logs, logs[counts > 0].mean() + margin)
    return SourcePriors(table, rows)


class SourcePriorCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross entropy of probabilities, after the source's prior.

    ``y_true`` of shape (batch, 2, classes): one-hot labels, and log priors as `log_priors` gives them (zeros: none).

    Args:
        label_smoothing: share of certainty given to the classes as the prior distributes them.
    """

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(name="source_prior_crossentropy")
        self._label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image, shape (batch,)."""
        labels, prior = y_true[:, 0], y_true[:, 1]
        logits = tf.math.log(tf.maximum(tf.cast(y_pred, tf.float32), keras.config.epsilon())) + prior
        target = (1 - self._label_smoothing) * labels + self._label_smoothing * tf.nn.softmax(prior)
        return tf.nn.softmax_cross_entropy_with_logits(target, logits)


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Whether the likeliest class is the right one, without the prior: as in service.  Shape (batch,)."""
    return keras.metrics.categorical_accuracy(y_true[:, 0], y_pred)
