"""The loss of a distillation: the student's logits approach the teacher's.

Regression of centred logits learns fast at first, since each view says something about every class; cross-entropy with
the teacher's probabilities then decides between the best few.  Measured: docs/reference/distillation.md.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class DistillationLoss(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy plus `regression_weight` times the square error of centred logits over the teacher's variance.

    Of targets, the teacher's centred logits, and the student's logits, both of shape (views, classes).
    """

    def __init__(self, regression_weight: float) -> None:
        super().__init__(name="distillation")
        self.regression_weight = tf.Variable(regression_weight, trainable=False, dtype=tf.float32)

    def call(self, targets: Any, logits: Any) -> Any:
        """Returns the loss of each view, shape (views,)."""
        targets, logits = tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(targets), logits)
        centred = logits - tf.reduce_mean(logits, axis=1, keepdims=True)
        error = tf.reduce_mean(tf.square(centred - targets), axis=1) / tf.math.reduce_variance(targets)
        return cross_entropy + self.regression_weight * error


def agreement(targets: Any, logits: Any) -> Any:
    """Whether teacher and student have the same first answer, 0 or 1 for each view."""
    return tf.cast(tf.equal(tf.argmax(targets, axis=1), tf.argmax(logits, axis=1)), tf.float32)
