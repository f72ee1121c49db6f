"""The shipped bundle loads and answers; an altered one is refused with a sentence."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_tier.__main__ import build_shadow, load
from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.release import Assignment
from app_tier.smoke_test import run_apart
from aws.in_memory import InMemoryStateStore
from aws.models import ModelStore
from core.errors import BundleError
from core.settings import Settings
from tests.bundles import SHIPPED, SHIPPED_NAME, SHIPPED_SHAPE, crashing_as


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle(SHIPPED), interpreters=1, top_k=5)


def test_the_shipped_bundle_is_whole() -> None:
    bundle = load_bundle(SHIPPED)
    assert bundle.full_name == SHIPPED_NAME
    assert len(bundle.labels) == 1000 and {"beagle", "teapot", "banana"} <= set(bundle.labels)
    assert (bundle.input.height, bundle.input.width, bundle.input.channels) == (192, 192, "BGR")


@pytest.mark.parametrize("count", [1, 3, 8, 2])
def test_any_batch_size_gives_the_same_answers(classifier: Classifier, count: int) -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 255, SHIPPED_SHAPE, np.uint8) for _ in range(8)]
    together = classifier.classify(images[:count])
    alone = [classifier.classify([image])[0] for image in images[:count]]
    assert together == alone


def test_predictions_are_the_best_five_in_order(classifier: Classifier) -> None:
    (top,) = classifier.classify([np.zeros(SHIPPED_SHAPE, np.uint8)])
    scores = [prediction.score for prediction in top]
    assert len(top) == 5 and scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.01


def test_a_loaded_model_holds_its_weights_once(tmp_path: Path) -> None:
    """The kernels have a copy in their own order; of the file that was mapped, next to nothing stays in memory."""
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    labeller = Classifier(load_bundle(folder), interpreters=2, top_k=1)
    labeller.classify([np.zeros(SHIPPED_SHAPE, np.uint8)] * 3)
    resident_kib = [
        int(line.split()[1])
        for mapping in re.split(r"(?m)^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
        if str(folder) in mapping
        for line in mapping.splitlines()
        if line.startswith("Rss:")
    ]
    assert len(resident_kib) == 2
    assert sum(resident_kib) * 1024 < (folder / "model.tflite").stat().st_size / 4


def replace(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


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
        (edit_manifest(lambda m: m["sha256"].update({"../../dev/zero": "0"})), "which is no file of a bundle"),
        (edit_manifest(lambda m: m["sha256"].update({"/dev/zero": "0"})), "which is no file of a bundle"),
        (edit_manifest(lambda m: m["input"].update(height=10**6)), r"192 × 1000000 pixels; up to 2048"),
        (edit_manifest(lambda m: m["input"].update(height=-1)), "up to 2048 are possible"),
        (lambda folder: replace(folder / "labels.txt", lambda path: path.symlink_to("/etc/passwd")), "cannot be read"),
        (lambda folder: replace(folder / "labels.txt", lambda path: path.symlink_to("/dev/zero")), "cannot be read"),
        (lambda folder: replace(folder / "model.tflite", os.mkfifo), "is not a file of at most 512 MiB"),
        (lambda folder: replace(folder / "bundle.json", os.mkfifo), "is not a file"),
    ],
)
def test_a_spoilt_bundle_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], sentence: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    spoil(folder)
    with pytest.raises(BundleError, match=sentence):
        load_bundle(folder)


def test_a_model_that_crashes_the_interpreter_crashes_a_child_only(tmp_path: Path) -> None:
    folder = crashing_as(tmp_path / "bundle", "2")
    load_bundle(folder)  # all of its hashes are right
    with pytest.raises(BundleError, match="crashes the interpreter: signal 6"):
        run_apart(folder)


def test_a_model_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    def hang(command: tuple[str, ...], timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, timeout)

    with pytest.raises(BundleError, match="took longer than 3 s"):
        run_apart(tmp_path, 3, hang)


@pytest.mark.parametrize("use", ["serve", "compare"])
def test_a_worker_loads_no_model_of_the_store_before_a_child_has_run_it(tmp_path: Path, use: str) -> None:
    state = InMemoryStateStore()
    models: Any = state
    ModelStore(models).add(crashing_as(tmp_path / "bundle", "2"), 1.0)
    settings = Settings(model_bundle=str(SHIPPED), model_cache=str(tmp_path / "cache"))
    with pytest.raises(BundleError, match="crashes the interpreter"):
        if use == "serve":
            load(settings, Assignment(2, "resnet50-imagenet@2"), models, threading.Event())
        else:
            clients: Any = {"s3": None}
            build_shadow(settings, models, clients, load_bundle(SHIPPED))._load("resnet50-imagenet@2")
