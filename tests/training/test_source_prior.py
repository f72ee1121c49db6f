"""Mixed data sets: what gives a photo's source away must not speak for a class."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

import keras

from training.source_prior import MARGIN, SourcePriorCrossentropy, accuracy, log_priors

CLASSES = 4


def test_a_source_says_how_often_it_shows_a_class_and_no_class_is_impossible() -> None:
    priors = log_priors([0, 0, 0, 1, 2, 3], ["a", "a", "a", "a", "b", ""], CLASSES)
    by_source = {source: priors.table[row] for source, row in zip(["a"] * 4 + ["b", ""], priors.rows, strict=True)}
    missing = (np.log(3 / 4) + np.log(1 / 4)) / 2 + MARGIN
    np.testing.assert_allclose(by_source["a"], [np.log(3 / 4), np.log(1 / 4), missing, missing], rtol=1e-5)
    np.testing.assert_allclose(by_source["b"], [MARGIN, MARGIN, 0, MARGIN], rtol=1e-5)
    np.testing.assert_array_equal(by_source[""], 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_prior_the_loss_is_plain_cross_entropy(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, 20)]
    probabilities = keras.ops.softmax(rng.normal(size=(20, CLASSES)).astype(np.float32))
    plain = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)(labels, probabilities)
    ours = SourcePriorCrossentropy(smoothing)(np.stack([labels, np.zeros_like(labels)], axis=1), probabilities)
    assert float(ours) == pytest.approx(float(plain), rel=1e-4)


def two_sources(count: int, swapped: bool) -> tuple[NDArray[np.float32], NDArray[np.int_], list[str]]:
    """Classes 0 and 1 from source a, 2 and 3 from b; a loud feature gives the source away, four faint ones the class.

    `swapped`: each class as the other source would show it.
    """
    rng = np.random.default_rng(1 + swapped)
    labels = rng.integers(0, CLASSES, count)
    from_a = labels < 2
    faint = np.eye(CLASSES)[labels] + rng.normal(scale=0.4, size=(count, CLASSES))
    loud = np.where(from_a != swapped, 3.0, -3.0)[:, None]
    return np.hstack([faint, loud]).astype(np.float32), labels, ["a" if a else "b" for a in from_a]


def learned(margin: float) -> float:
    """Accuracy of a linear classifier on photos whose source is another one than in training."""
    keras.utils.set_random_seed(3)
    features, labels, sources = two_sources(2000, swapped=False)
    priors = log_priors(labels.tolist(), sources, CLASSES, margin)
    targets = np.stack([np.eye(CLASSES, dtype=np.float32)[labels], priors.table[priors.rows]], axis=1)
    model = keras.Sequential([keras.layers.Input((CLASSES + 1,)), keras.layers.Dense(CLASSES, activation="softmax")])
    model.compile(keras.optimizers.Adam(0.1), SourcePriorCrossentropy(0.0), metrics=[accuracy])
    history = model.fit(features, targets, batch_size=200, epochs=20, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] and 0 < history["accuracy"][-1] <= 1
    others, truth, _ = two_sources(1000, swapped=True)
    return float((model.predict(others, verbose=0).argmax(axis=1) == truth).mean())


def test_the_larger_the_margin_the_less_is_learned_of_the_source() -> None:
    # Two classes for each source, equally frequent: without a margin the prior says nothing.
    plainly, by_default, strictly = learned(0.0), learned(MARGIN), learned(-9.0)
    assert plainly < 0.1 < by_default < strictly and strictly > 0.5
