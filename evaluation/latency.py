"""Measure the latency of bundles for single images, in turns, on the same images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import ModelBundle
from evaluation.predictions import open_classifier

WARM_UP = 3


def measure_latency(bundles: Sequence[ModelBundle], pictures: Sequence[Sequence[NDArray[np.uint8]]]) -> list[float]:
    """The median time for one image on one core, milliseconds, of each bundle.

    The bundles take turns, so that other load on the machine affects all of them alike.

    Args:
        pictures: for each bundle the same images, in its own input size, uint8 RGB.
    """
    classifiers = [open_classifier(bundle, 1) for bundle in bundles]
    for classifier, images in zip(classifiers, pictures, strict=True):
        for _ in range(WARM_UP):
            classifier.probabilities(images[:1])
    seconds: list[list[float]] = [[] for _ in bundles]
    for turn in zip(*pictures, strict=True):
        for taken, classifier, image in zip(seconds, classifiers, turn, strict=True):
            started = time.perf_counter()
            classifier.probabilities([image])
            taken.append(time.perf_counter() - started)
    return [1000 * statistics.median(taken) for taken in seconds]
