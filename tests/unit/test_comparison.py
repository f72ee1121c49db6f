"""Models with different labels are compared by the labels' names, on the photos that all of them can label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app_tier.bundle import InputSpec, ModelBundle
from evaluation.comparison import Comparison, compare
from evaluation.predictions import Predictions
from evaluation.truth import LabelledPhoto

PHOTOS = {
    name: LabelledPhoto(Path(name), name, name.partition("-")[0]) for name in ("cat-1", "cat-2", "dog-1", "fox-1")
}


def predictions(folder: Path, labels: tuple[str, ...], answers: dict[str, str]) -> Predictions:
    """A model's `answers` to photos, by their names."""
    place = folder / "-".join(labels)
    place.mkdir(exist_ok=True)
    (place / "bundle.json").write_text("{}")
    bundle = ModelBundle(place, "m", "1", InputSpec(8, 8, "RGB", (0, 0, 0)), labels)
    photos = tuple(PHOTOS[name] for name in answers)
    truth = np.array([labels.index(photo.label) for photo in photos], np.intp)
    rows = np.array([[answer == label for label in labels] for answer in answers.values()], np.float32)
    return Predictions(bundle, photos, truth, rows, ())


def test_models_are_compared_on_the_labels_that_they_share(tmp_path: Path) -> None:
    first = predictions(
        tmp_path, ("cat", "dog", "fox"), {"cat-1": "cat", "cat-2": "dog", "dog-1": "dog", "fox-1": "fox"}
    )
    # In another order, with a label of its own and without foxes.
    other = predictions(tmp_path, ("wolf", "dog", "cat"), {"dog-1": "wolf", "cat-1": "cat", "cat-2": "cat"})
    assert compare([first, other]) == [
        Comparison(images=3, accuracy=0.6667, agreement=1.0, labels=3),
        Comparison(
            images=3,
            accuracy=0.6667,
            agreement=0.3333,
            labels=2,
        ),
    ]


def test_answers_that_the_other_model_cannot_give_are_no_agreement(tmp_path: Path) -> None:
    first = predictions(tmp_path, ("cat", "fox"), {"cat-1": "fox"})
    other = predictions(tmp_path, ("cat", "dog"), {"cat-1": "dog"})
    assert compare([first, other])[1] == Comparison(images=1, accuracy=0.0, agreement=0.0, labels=1)


def test_models_without_a_shared_photo_have_no_figures_together(tmp_path: Path) -> None:
    first = predictions(tmp_path, ("cat", "fox"), {"cat-1": "cat"})
    other = predictions(tmp_path, ("dog", "wolf"), {"dog-1": "dog"})
    assert compare([first, other]) == [Comparison(0, None, None, 2), Comparison(0, None, None, 0)]
