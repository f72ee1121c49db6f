"""Which classes the photos show: how many views of each class the teacher is sure of.

A student learns a class from views of it; where the teacher is sure of few, more steps do not help, but photos of that
class do.  Measured: docs/reference/distillation.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# The teacher's probability of its first answer from which a view counts as one of that class.
SURE = 0.5
# With fewer sure views than this a class is learned badly.
FEW = 20


def count_sure_views(logits: Iterable[NDArray[np.floating]], classes: int) -> NDArray[np.int64]:
    """Counts for each class the views whose first answer it is with a probability above `SURE`.

    Args:
        logits: the teacher's, in parts of shape (views, classes).

    Returns:
        The counts, shape (classes,).
    """
    counts = np.zeros(classes, np.int64)
    for part in logits:
        values = np.asarray(part, np.float32)
        best = values.argmax(axis=1)
        # The first answer's probability, without the others': its share is 1 over the sum of all relative to it.
        relative = np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
        counts += np.bincount(best[relative < 1 / SURE], minlength=classes)
    return counts


def describe(counts: NDArray[np.int64], views: int) -> str:
    """The counts in a sentence or two, for a person who may add photos."""
    sentence = f"The teacher is sure of {counts.sum():,} of {views:,} views"
    few = int((counts < FEW).sum())
    if not few:
        return f"{sentence}: {FEW} or more of each of its {len(counts):,} classes."
    return (
        f"{sentence}.  {few:,} of its {len(counts):,} classes have fewer than {FEW}, "
        f"{int((counts == 0).sum()):,} of them none: photos of these help most."
    )
