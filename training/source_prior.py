"""Logit adjustment by data source, for mixtures of data sets with different classes.

Sources differ in sharpness, JPEG traces, aliasing and background, and each has only some of the classes.  A network
trained on a plain mixture learns to recognize the source, since that narrows down the class.  So the loss adds
log P(class | source) to the network's logits, and recognizing the source does not lower it any more.  In service
nothing is added.
Source: Menon et al., Long-tail learning via logit adjustment, ICLR 2021, here applied for each source separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# The log prior of a class that a source lacks, relative to the mean of those that it has.  Finite: else the loss on a
# source with a single class would be constant, and classes of different sources would not be separated.
MARGIN = -5.0


@dataclass(frozen=True, slots=True)
class SourcePriors:
    """The log prior of each class, given the source of an image.

    Args:
        table: log priors, float32 of shape (sources, classes).
        rows: for each image its row in `table`.
    """

    table: NDArray[np.float32]
    rows: NDArray[np.intp]


def log_priors(labels: Sequence[int], sources: Sequence[str], classes: int, margin: float = MARGIN) -> SourcePriors:
    """Computes the log of each class's share among the images of a source.

    Args:
        labels: class index of each image.
        sources: the source of each image; for "" the priors are zeros, which change nothing.
        margin: for a class that the source lacks; see `MARGIN`.
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
    """Cross entropy of probabilities, adjusted by the source's prior.

    ``y_true`` of shape (batch, 2, classes): one-hot labels, and log priors as `log_priors` gives them (zeros: none).

    Args:
        label_smoothing: share of the target that is spread over the classes by the prior.
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
    """Whether the most probable class is correct, without the prior, as in service.  Shape (batch,)."""
    return keras.metrics.categorical_accuracy(y_true[:, 0], y_pred)
