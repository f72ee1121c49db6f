"""The view of the dog breeds: which labels it has, and what becomes of the others' probabilities."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from app_tier.bundle import InputSpec, ModelBundle, load_bundle
from app_tier.classifier import Classifier
from app_tier.label_view import LEAST, renormalize
from app_tier.smoke_test import classify_one
from core.errors import BundleError, EvaluationError
from evaluation.label_view import VIEWS, chosen_labels, view_predictions
from evaluation.predictions import Predictions
from evaluation.truth import LabelledPhoto
from tests.bundles import SHIPPED, SHIPPED_SHAPE
from training.imagenet_names import class_names

DOGS = VIEWS["dogs"]


def _bundle(folder: Path, synsets: list[str], labels: list[str]) -> ModelBundle:
    (folder / "bundle.json").write_text(json.dumps({"synsets": synsets}))
    return ModelBundle(folder, "m", "1", InputSpec(8, 8, "RGB", (0, 0, 0)), tuple(labels))


def test_imagenet_has_118_breeds(tmp_path: Path) -> None:
    synsets, labels = map(list, zip(*class_names(), strict=True))
    chosen = [labels[number] for number in chosen_labels(_bundle(tmp_path, synsets, labels), DOGS)]
    assert (len(chosen), chosen[0], chosen[-1]) == (118, "Chihuahua", "Mexican_hairless")
    assert {"Eskimo_dog", "malamute", "Siberian_husky"} <= set(chosen)
    assert not {"dingo", "dhole", "African_hunting_dog", "timber_wolf", "hotdog", "tabby"} & set(chosen)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # Labels: husky, cat, malamute.
        ([0.6, 0.2, 0.2], [0.75, 0.25, 0.0]),
        ([0.5, 0.5, 0.0], [1.0, 0.0, 0.0]),
        ([0.3, 0.6, 0.1], [0.3, 0.1, 0.6]),
        ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0]),
    ],
)
def test_what_is_left_is_renormalized_or_is_no_dog(row: list[float], expected: list[float]) -> None:
    viewed = renormalize(np.array([row], np.float32), [0, 2])
    assert viewed[0].tolist() == pytest.approx(expected)


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=8), st.data())
def test_a_view_has_probabilities_and_keeps_the_order(values: list[float], data: st.DataObject) -> None:
    total = sum(values)
    row = np.array([[value / total for value in values]] if total else [[1.0] + [0.0] * (len(values) - 1)], np.float32)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(values) - 1), min_size=2)))
    (viewed,) = renormalize(row, chosen)
    assert viewed.sum() == pytest.approx(1, abs=1e-5) and viewed.min() >= 0
    kept = row[0, chosen]
    assert viewed[:-1].argmax() == kept.argmax()
    if abs(kept.sum() - LEAST) > 1e-3:
        assert (viewed.argmax() == len(chosen)) == (kept.sum() < LEAST)


def test_photos_of_other_things_are_no_dogs(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path, ["n02110185", "n02123045", "n02110063"], ["husky", "tabby", "malamute"])
    photos = tuple(LabelledPhoto(Path(name), name, name) for name in ("husky", "tabby", "malamute"))
    rows = np.array([[0.4, 0.1, 0.5], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]], np.float32)
    viewed = view_predictions(Predictions(bundle, photos, np.array([0, 1, 2]), rows, ()), DOGS)
    assert viewed.bundle.labels == ("husky", "malamute", "not a dog")
    assert viewed.truth.tolist() == [0, 2, 1] and viewed.predicted.tolist() == [1, 2, 1]


def test_models_without_dogs_have_no_view_of_them(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="m@1 has no synsets, by which the labels of dogs are found"):
        chosen_labels(_bundle(tmp_path, [], ["a", "b"]), DOGS)
    with pytest.raises(EvaluationError, match="m@1 has 1 labels of dogs; a view needs at least two"):
        chosen_labels(_bundle(tmp_path, ["n02110185", "n02123045"], ["husky", "tabby"]), DOGS)


def test_the_command_reports_breeds(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    """The shipped model has 118 breeds; none is on these photos."""
    for path, label in photos:
        # As the folders of Stanford Dogs are named, and plainly.
        if folder := {"tabby": "n02123045-tabby cat", "espresso": "espresso"}.get(label):
            (tmp_path / "photos" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / folder / path.name).write_bytes(path.read_bytes())
    arguments = ["evaluate", "--images", str(tmp_path / "photos"), "--bundle", str(SHIPPED), "--labels", "dogs"]
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    result = CliRunner().invoke(cli.main, [*arguments, "--report", str(report), "--json", str(figures)])
    assert result.exit_code == 0, result.output
    found = json.loads(figures.read_text("utf-8"))
    assert found["images"] == 4 and found["left_out"] == []
    assert {row["label"] for row in found["per_class"]} == {"not a dog"}
    assert found["accuracy"] == found["confusion"]["not a dog"].get("not a dog", 0) / found["images"] >= 0.5
    assert "photos, dogs only" in report.read_text("utf-8")


@pytest.fixture(scope="module")
def dogs(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """The view of the shipped model's 118 breeds, by the command."""
    folder = tmp_path_factory.mktemp("views") / "dogs"
    result = CliRunner().invoke(cli.main, ["model", "view", str(SHIPPED), "--labels", "dogs", "--to", str(folder)])
    assert result.output == f"{folder}: dogs@1, 119 labels\n"
    return load_bundle(folder)


def test_a_view_is_a_bundle_that_is_served(dogs: ModelBundle) -> None:
    images = [np.random.default_rng(seed).integers(0, 255, SHIPPED_SHAPE, np.uint8) for seed in range(3)]
    whole = Classifier(load_bundle(SHIPPED), 1, 1).probabilities(images)
    assert dogs.view is not None and dogs.labels[-1] == "not a dog"
    expected = renormalize(whole, dogs.view.chosen)
    assert (Classifier(dogs, 1, 1).probabilities(images) == expected).all()
    # As a worker does it before it receives jobs.
    assert classify_one(dogs.folder) in dogs.labels


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"chosen": [0, 0, 1]}, "chooses outputs that its model does not have, or one of them twice"),
        ({"chosen": []}, "chooses outputs that its model does not have"),
        ({"chosen": list(range(990, 1106))}, "chooses outputs that its model does not have"),
        ({"chosen": [0, 1]}, "has 2 outputs and the rest, and the bundle 119 labels"),
        ({"chosen": None}, "is not a bundle manifest"),
    ],
)
def test_a_spoilt_view_is_refused(dogs: ModelBundle, tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    shutil.copytree(dogs.folder, tmp_path / "spoilt")
    path = tmp_path / "spoilt" / "bundle.json"
    manifest = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**manifest, "view": {**manifest["view"], **change}}), "utf-8")
    with pytest.raises(BundleError, match=sentence):
        load_bundle(tmp_path / "spoilt")


def test_a_view_has_no_view_and_is_not_overwritten(dogs: ModelBundle) -> None:
    for bundle, sentence in ((dogs.folder, "is an ensemble or a view itself"), (SHIPPED, "exists already")):
        target = dogs.folder if bundle == SHIPPED else dogs.folder.with_name("again")
        arguments = ["model", "view", str(bundle), "--labels", "dogs", "--to", str(target)]
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 2 and sentence in result.output
