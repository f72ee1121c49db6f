"""Export: a small network becomes a bundle that the worker's classifier runs and that agrees with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="TensorFlow, which export needs, is not installed")

import keras
from click.testing import CliRunner

import cli
from app_tier.bundle import InputSpec, load_bundle
from app_tier.classifier import Classifier
from core.errors import ExportError
from training.export import export_bundle, read_images
from training.export_formats import Kind

SPEC = InputSpec(32, 32, "BGR", (103.939, 116.779, 123.68))
COLOURS = {"red": (200, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 210)}


@pytest.fixture(scope="module")
def network() -> Any:
    """A model that distinguishes three colours, with weights that are set and not learned."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(images)
    features = keras.layers.BatchNormalization()(features)
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Concatenate()([features, images]))
    model = keras.Model(images, keras.layers.Dense(3, activation="softmax")(mean))
    weights = np.zeros((11, 3), np.float32)
    weights[8:] = np.eye(3)[::-1] * 0.03  # the channels come as BGR
    model.layers[-1].set_weights([weights, np.zeros(3, np.float32)])
    return model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve noisy photos of each colour, in a folder per class."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir()
        for number in range(12):
            noise = rng.normal(colour, 40, (48, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / label / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("kind", ["int8", "int16", "dynamic", "float16", "float32"])
def test_every_kind_agrees_with_the_network_it_came_from(
    network: Any, photos: Path, tmp_path: Path, kind: Kind
) -> None:
    images = read_images(sorted(photos.rglob("*.jpg")), SPEC, 36)
    exported = export_bundle(network, list(COLOURS), SPEC, images, tmp_path / "bundle", name="colours", kind=kind)
    assert exported.parity.images == 36
    assert exported.parity.top1_agreement == 1.0 and exported.parity.largest_probability_difference < 0.05
    bundle = load_bundle(tmp_path / "bundle")
    assert (bundle.full_name, bundle.labels, bundle.input) == ("colours@1", tuple(COLOURS), SPEC)
    assert not list(tmp_path.glob(".bundle*"))


def test_a_temperature_divides_the_logits(network: Any, photos: Path, tmp_path: Path) -> None:
    images = read_images(sorted(photos.rglob("*.jpg")), SPEC, 4)
    found = []
    for temperature in (1.0, 2.0):
        model = keras.models.clone_model(network)
        model.set_weights(network.get_weights())
        folder = tmp_path / str(temperature)
        exported = export_bundle(
            model, list(COLOURS), SPEC, images, folder, name="colours", kind="float32", temperature=temperature
        )
        assert exported.parity.largest_probability_difference < 1e-4
        found.append(np.log(Classifier(load_bundle(folder), 1, 1).probabilities(images)))
    once, twice = (logs - logs[:, :1] for logs in found)
    assert twice == pytest.approx(once / 2, abs=1e-3)
    image = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 1)(image))
    with pytest.raises(ExportError, match="dense"):
        export_bundle(
            keras.Model(image, pooled), list(COLOURS), SPEC, images, tmp_path / "no", name="colours", temperature=2.0
        )


def test_nothing_is_overwritten_and_nothing_half_done_stays(network: Any, tmp_path: Path) -> None:
    image = [np.zeros((32, 32, 3), np.uint8)]
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="already exists"):
        export_bundle(network, list(COLOURS), SPEC, image, tmp_path / "there", name="colours")
    with pytest.raises(ExportError, match="3 outputs, for 2 different labels"):
        export_bundle(network, ["red", "green"], SPEC, image, tmp_path / "new", name="colours")
    broken = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Lambda(lambda x: x[:, 0, 0] / 0.0)])
    broken.add(keras.layers.Lambda(lambda x: keras.ops.svd(x[:, :, None])[1]))
    with pytest.raises(ExportError):
        export_bundle(broken, ["one"], SPEC, image, tmp_path / "new", name="colours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_a_training_run_becomes_a_measured_bundle(network: Any, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    network.save(run / "model.keras")
    fields = {
        "format": 1,
        "architecture": "cifar-cnn",
        "labels": list(COLOURS),
        "synsets": None,
        "input": {"height": 32, "width": 32, "channels": "BGR", "subtract": list(SPEC.subtract), "scale": 1.0},
        "dataset": {"name": "colours", "train": 24, "validation": 12},
    }
    (run / "run.json").write_text(json.dumps(fields))
    with (run / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "path", "label", "split"))
        for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
            split = "validation" if number % 3 == 0 else "train"
            writer.writerow((path.name, path, path.parent.name, split))
    arguments = ["export", str(run), "--to", str(tmp_path / "bundle"), "--name", "colours", "--version", "7"]
    answer = CliRunner().invoke(cli.main, arguments)
    assert answer.exit_code == 0, answer.output
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert manifest["measured"]["images"] == 12 and manifest["measured"]["top1_int8"] == 1.0
    assert manifest["calibration_images"] == 24
    card = (tmp_path / "bundle" / "card.md").read_text()
    assert "by which the best epoch was chosen" in card
    assert "colours, version 7" in card and "top-1 1.0000 (1.0000 in float32)" in card

    again = CliRunner().invoke(cli.main, arguments)
    assert again.exit_code == 2 and "already exists" in again.output


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("{", "cannot be read"),
        ('{"format": 1}', "lacks architecture, input, labels"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, spoil: str, sentence: str) -> None:
    (tmp_path / "run.json").write_text(spoil)
    answer = CliRunner().invoke(cli.main, ["export", str(tmp_path), "--to", str(tmp_path / "bundle")])
    assert answer.exit_code == 2 and sentence in answer.output
