"""Views of a model's outputs: some of its labels alone, renormalized, and one label for all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# With less than this left for the chosen labels, the answer is the rest.
LEAST = 0.5


def renormalize(probabilities: NDArray[np.float32], chosen: Sequence[int]) -> NDArray[np.float32]:
    """Probabilities of the chosen labels, and of all others together in a last column; each row adds up to 1.

    Where the chosen labels have `LEAST` or more together, they are divided by it and the last column is 0.  Else they
    stay as they are, and the last column, which has the remainder, is the largest.

    Args:
        probabilities: shape (photos, labels).

    Returns:
        An array of shape (photos, chosen + 1).
    """
    kept = probabilities[:, list(chosen)].astype(np.float64)
    total = kept.sum(axis=1, keepdims=True)
    enough = total >= LEAST
    rest = np.where(enough, 0.0, np.maximum(1.0 - total, 0.0))
    viewed = np.concatenate([np.where(enough, kept / np.where(enough, total, 1.0), kept), rest], axis=1)
    return viewed.astype(np.float32)
