"""Ensembles: the mean of the members' probabilities, refused where they do not fit, and served as any bundle."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_tier.__main__ import load
from app_tier.bundle import InputSpec, ModelBundle, load_bundle
from app_tier.classifier import Classifier
from app_tier.release import Assignment
from aws.in_memory import InMemoryStateStore
from aws.models import ModelStore
from core.errors import BundleError, EvaluationError
from core.settings import Settings
from evaluation.ensemble import require_compatible, write_ensemble
from tests.bundles import SHIPPED, SHIPPED_SHAPE, shipped_as


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """The shipped model, and the same with another mean to subtract, which makes it another model."""
    folder = tmp_path_factory.mktemp("ensemble")
    other = shipped_as(folder / "other", "2")
    manifest = json.loads((other / "bundle.json").read_text("utf-8"))
    manifest["input"]["subtract"] = [0.0, 0.0, 0.0]
    (other / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    return write_ensemble([load_bundle(SHIPPED), load_bundle(other)], folder / "pair")


def test_an_ensemble_answers_with_the_mean_of_its_members(pair: ModelBundle) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, SHIPPED_SHAPE, np.uint8) for _ in range(3)]
    members = [
        replace(pair, input=member.input, ensemble=()) for member in pair.members
    ]  # both have the same file, with their own input
    first, second = (Classifier(member, 1, 1).probabilities(images) for member in members)
    assert np.abs(first - second).max() > 0.01
    together = Classifier(pair, 1, 5)
    assert together.probabilities(images) == pytest.approx((first + second) / 2, abs=1e-6)
    # The interpreters' own memory is unchanged.
    assert together.probabilities(images) == pytest.approx((first + second) / 2, abs=1e-6)
    assert pair.full_name == "pair@1" and len(pair.members) == 2
    assert pair.size_bytes == 2 * (SHIPPED / "model.tflite").stat().st_size
    assert "resnet50-imagenet@2 (`model-2.tflite`)" in (pair.folder / "card.md").read_text("utf-8")


def test_a_worker_loads_an_ensemble_of_the_model_store(pair: ModelBundle, tmp_path: Path) -> None:
    state: Any = InMemoryStateStore()
    assert ModelStore(state).add(pair.folder, 1.0).size_bytes > pair.size_bytes
    settings = Settings(model_bundle=str(SHIPPED), model_cache=str(tmp_path), interpreters=1)
    bundle, classifier = load(settings, Assignment(1, "pair@1"), state, threading.Event())
    assert [member.path.name for member in bundle.members] == ["model.tflite", "model-2.tflite"]
    assert classifier.bundle.full_name == "pair@1"


def _bundle(labels: tuple[str, ...] = ("a", "b"), side: int = 8, name: str = "m") -> ModelBundle:
    return ModelBundle(Path(name), name, "1", InputSpec(side, side, "RGB", (0, 0, 0)), labels)


@pytest.mark.parametrize(
    ("bundles", "sentence"),
    [
        ([_bundle()], "two to 5 members; these are 1"),
        ([_bundle()] * 6, "two to 5 members; these are 6"),
        ([_bundle(), _bundle(("b", "a"), name="n")], "m@1 and n@1 have different labels, or another order"),
        ([_bundle(), _bundle(side=16, name="n")], r"inputs of different sizes \(8 and 16 pixels\)"),
    ],
)
def test_models_that_cannot_be_averaged(bundles: list[ModelBundle], sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        require_compatible(bundles)


def test_an_ensemble_is_no_member_and_is_not_overwritten(pair: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="pair@1 is an ensemble or a view itself; give single models"):
        require_compatible([pair, pair])
    with pytest.raises(EvaluationError, match="exists already"):
        write_ensemble([load_bundle(SHIPPED)] * 2, tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m["members"].pop(), "an ensemble has two to 5 members"),
        (lambda m: m["members"][1].update(file="labels.txt"), "an ensemble has two to 5 members"),
        (lambda m: m["members"][1].update(file="../model.tflite"), "an ensemble has two to 5 members"),
        (lambda m: m["members"][1]["input"].update(height=64), "inputs of different sizes"),
        (lambda m: m["sha256"].pop("model-2.tflite"), "gives no sha256 for model-2.tflite"),
        (lambda m: m.pop("members"), "is not a bundle manifest"),
    ],
)
def test_a_spoilt_ensemble_is_refused(
    pair: ModelBundle, tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    shutil.copytree(pair.folder, tmp_path / "spoilt")
    path = tmp_path / "spoilt" / "bundle.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match=sentence):
        load_bundle(tmp_path / "spoilt")
