"""Views of a model's labels: some of them alone, with renormalized probabilities, and one label for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import ModelBundle
from core.errors import EvaluationError
from evaluation.predictions import Predictions
from evaluation.truth import synsets_of

# ImageNet has 118 breeds of the domestic dog, and WordNet's ids of them, from Chihuahua to Mexican hairless, are those
# between these two: dingo, dhole and the African hunting dog come after them, as do the wolves.
_FIRST_DOG, _LAST_DOG = "n02085620", "n02113978"


@dataclass(frozen=True, slots=True)
class LabelView:
    """A choice of labels.

    Attributes:
        rest: the label of everything else.
        contains: whether a synset is one of the choice.
    """

    name: str
    rest: str
    contains: Callable[[str], bool]


VIEWS = {"dogs": LabelView("dogs", "not a dog", lambda synset: _FIRST_DOG <= synset <= _LAST_DOG)}
# With less than this left for the chosen labels, the answer is the rest.
LEAST = 0.5


def view_predictions(predictions: Predictions, view: LabelView) -> Predictions:
    """Shows predictions in a view: photos of other labels then have the label `view.rest`.

    Raises:
        EvaluationError: the bundle has no synsets, or fewer than two of the view.
    """
    bundle = predictions.bundle
    chosen = chosen_labels(bundle, view)
    place = np.full(len(bundle.labels), len(chosen), np.intp)
    place[chosen] = np.arange(len(chosen))
    return replace(
        predictions,
        bundle=replace(bundle, labels=(*(bundle.labels[number] for number in chosen), view.rest)),
        truth=place[predictions.truth],
        probabilities=renormalize(predictions.probabilities, chosen),
    )


def chosen_labels(bundle: ModelBundle, view: LabelView) -> list[int]:
    """The numbers of the bundle's labels that belong to a view.

    Raises:
        EvaluationError: the bundle has no synsets, or fewer than two of the view.
    """
    synsets = synsets_of(bundle)
    if not synsets:
        raise EvaluationError(f"{bundle.full_name} has no synsets, by which the labels of {view.name} are found")
    chosen = [number for number, synset in enumerate(synsets) if view.contains(synset)]
    if len(chosen) < 2:
        raise EvaluationError(f"{bundle.full_name} has {len(chosen)} labels of {view.name}; a view needs at least two")
    return chosen


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
