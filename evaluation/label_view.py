"""Views of a model's labels: some of them alone, with renormalized probabilities, and one label for all others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app_tier.bundle import ModelBundle, load_bundle
from app_tier.label_view import renormalize
from core.bundle_manifest import LABELS_FILE, MODEL_FILE, read_manifest
from core.errors import EvaluationError
from evaluation.bundle_files import bundle_files, write_description
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


def write_view(bundle: ModelBundle, view: LabelView, folder: Path, version: str = "1") -> ModelBundle:
    """Writes a bundle that answers with the labels of a view only; workers serve it as any other.

    Args:
        folder: its new folder; its name becomes the bundle's.

    Raises:
        EvaluationError: the bundle is an ensemble or a view itself, it lacks the labels, or the folder exists.
    """
    if bundle.ensemble or bundle.view is not None:
        raise EvaluationError(f"{bundle.full_name} is an ensemble or a view itself; give a single model")
    if folder.exists():
        raise EvaluationError(f"{folder} exists already; give another folder for the view")
    chosen = chosen_labels(bundle, view)
    synsets = synsets_of(bundle)
    described = read_manifest(bundle.folder)
    manifest: dict[str, Any] = {
        **{key: described[key] for key in ("architecture", "kind", "input") if key in described},
        "name": folder.name,
        "version": version,
        "output": f"probabilities over {LABELS_FILE}, renormalized: the view {view.name} of {bundle.full_name}",
        "labels": LABELS_FILE,
        "synsets": [*(synsets[number] for number in chosen), ""],
        "view": {"name": view.name, "of": bundle.full_name, "outputs": len(bundle.labels), "chosen": chosen},
    }
    labels = (*(bundle.labels[number] for number in chosen), view.rest)
    with bundle_files(folder) as partial:
        shutil.copyfile(bundle.model_path, partial / MODEL_FILE)
        (partial / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), "utf-8")
        card = (
            f"# {folder.name}\n\nThe {len(chosen)} labels of the view {view.name} of {bundle.full_name}, renormalized; "
            f'"{view.rest}" where they have less than half of the probability.\n'
        )
        write_description(partial, manifest, card, (MODEL_FILE, LABELS_FILE))
    return load_bundle(folder)
