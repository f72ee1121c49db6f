"""The smoke test: one made image through decoder and model, as every photo goes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app_tier.classifier import Classifier
from core.errors import BundleError, ImageError

_SIZE = (640, 480)
# Softmax in int8 is a few thousandths off.
_TOLERANCE = 0.05


def smoke_test(classifier: Classifier, decode: Callable[[bytes], NDArray[np.uint8]]) -> str:
    """The label that a classifier gives to a gradient.

    Args:
        decode: turns a file's bytes into pixels of the model's input size.

    Raises:
        BundleError: it gives none, or what it gives are no probabilities.
    """
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize(_SIZE).save(file, "JPEG")
    try:
        pixels = decode(file.getvalue())
        (probabilities,) = classifier.probabilities([pixels])
    except (ImageError, ValueError, RuntimeError) as error:
        raise BundleError(f"the smoke test of {classifier.bundle.full_name} failed: {error}") from error
    total = float(probabilities.sum())
    if not math.isfinite(total) or abs(total - 1) > _TOLERANCE or float(probabilities.min()) < -_TOLERANCE:
        raise BundleError(
            f"the smoke test of {classifier.bundle.full_name} failed: its probabilities add up to {total:.3g}"
        )
    return classifier.bundle.labels[int(np.argmax(probabilities))]
