"""The shipped bundle loads and answers; an altered one is refused with a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from core.errors import BundleError
from tests.bundles import SHIPPED, SHIPPED_NAME


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle(SHIPPED), interpreters=1, top_k=5)


def test_the_shipped_bundle_is_whole() -> None:
    bundle = load_bundle(SHIPPED)
    assert bundle.full_name == SHIPPED_NAME
    assert len(bundle.labels) == 267 and {"beagle", "teapot", "banana"} <= set(bundle.labels)
    assert (bundle.input.height, bundle.input.width, bundle.input.channels) == (128, 128, "BGR")


@pytest.mark.parametrize("count", [1, 3, 8, 2])
def test_any_batch_size_gives_the_same_answers(classifier: Classifier, count: int) -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 255, (128, 128, 3), np.uint8) for _ in range(8)]
    together = classifier.classify(images[:count])
    alone = [classifier.classify([image])[0] for image in images[:count]]
    assert together == alone


def test_predictions_are_the_best_five_in_order(classifier: Classifier) -> None:
    (top,) = classifier.classify([np.zeros((128, 128, 3), np.uint8)])
    scores = [prediction.score for prediction in top]
    assert len(top) == 5 and scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.01


def spoil_label(folder: Path) -> None:
    (folder / "labels.txt").write_text("dog\n")


def edit_manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "bundle.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return edit


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_label, "labels.txt is not the file"),
        (lambda folder: (folder / "model.tflite").unlink(), "it has no model.tflite"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "not a bundle manifest"),
        (lambda folder: (folder / "bundle.json").unlink(), "it has no bundle.json"),
        (edit_manifest(lambda m: m["input"].update(resize="stretch")), "preprocessing that this version does not know"),
        (edit_manifest(lambda m: m["input"].update(subtract=[1, 2])), "not a bundle manifest"),
        (edit_manifest(lambda m: m["sha256"].pop("model.tflite")), "gives no sha256 for model.tflite"),
        (edit_manifest(lambda m: m.pop("name")), "not a bundle manifest"),
    ],
)
def test_a_spoilt_bundle_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], sentence: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    spoil(folder)
    with pytest.raises(BundleError, match=sentence):
        load_bundle(folder)
