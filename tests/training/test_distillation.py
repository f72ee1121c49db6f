"""Distillation: views, the division of the student, the cache of features, and whole small runs."""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

import keras

import training.run_record
from cli.distil import distil
from core.errors import TrainingError
from tests.training.helpers import SHAPES, SIDE, small_network, toy_config, write_shapes
from training.architectures import cifar
from training.data import prepare_data
from training.distillation import feature_cache
from training.distillation.config import DistillationConfig, make_config
from training.distillation.coverage import count_sure_views, describe
from training.distillation.loss import DistillationLoss, agreement
from training.distillation.photos import choose_photos
from training.distillation.run import Distillation
from training.distillation.shards import Shards, has_shard, write_shard
from training.distillation.student import divide
from training.distillation.teachers import RunTeacher, centred_logits, open_teacher
from training.distillation.view_maker import ViewMaker, plan_views
from training.distillation.views import centre_view, draw_view, open_photo, render
from training.run_folder import read_run
from training.train import Training
from training.trained_run import TrainedRun


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network, and no curves drawn after each epoch."""
    monkeypatch.setattr(cifar, "_reference", small_network)
    monkeypatch.setattr(training.run_record, "draw_curves", lambda *_: None)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 60)


@pytest.fixture(scope="module")
def teacher(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that knows the shapes."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "_reference", small_network)
        patch.setattr(training.run_record, "draw_curves", lambda *_: None)
        config = toy_config(shapes, epochs=12, dropout=0.0, learning_rate=0.02, warmup_epochs=1)
        run = Training(config, prepare_data(config, folder / "cache", Console()), folder, Console()).run()
    assert run["test"]["accuracy"] > 0.6
    return folder


def options(teacher: Path, **changed: Any) -> dict[str, Any]:
    toy = {"architecture": "cifar-cnn", "side": SIDE, "batch_size": 16, "epochs": 2, "views_per_epoch": 160}
    toy |= {"views_per_photo": 2, "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.0, "clip_norm": 1.0}
    toy |= {"warmup_epochs": 0.5, "regression_weight": 10.0, "precision": "float32", "seed": 1}
    return {**toy, "teacher": str(teacher), **changed}


def run(config: DistillationConfig, folder: Path) -> dict[str, Any]:
    taught = RunTeacher(Path(config.teacher))
    return Distillation(config, taught, choose_photos(config), folder, folder / "cache", Console()).run()


# Views


@given(width=st.integers(16, 4000), height=st.integers(16, 4000), seed=st.integers(0, 1000))
def test_a_view_is_a_part_of_its_photo(width: int, height: int, seed: int) -> None:
    view = draw_view(width, height, random.Random(seed))
    left, upper, right, lower = view.box
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    assert view == draw_view(width, height, random.Random(seed))


def test_both_networks_see_the_same_part() -> None:
    """Rendered for two sizes, a view's halves have the same colours on the same sides."""
    photo = Image.new("RGB", (64, 64), (200, 0, 0))
    photo.paste((0, 0, 200), (32, 0, 64, 64))
    for seed in range(20):
        view = draw_view(*photo.size, random.Random(seed))
        small, large = render(photo, view, 8), render(photo, view, 24)
        # Away from the border between the colours, where the sizes differ.
        for column in (0, -1):
            assert small[:, column].mean(axis=0) == pytest.approx(large[:, column].mean(axis=0), abs=25)


def test_the_central_view_is_what_a_worker_sees() -> None:
    assert centre_view(300, 100).box == (100, 0, 200, 100)


def test_photos_are_upright_and_bounded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (2000, 1000)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_photo(tmp_path / "turned.jpg").size == (320, 640)
    Image.new("RGB", (8, 100)).save(tmp_path / "tiny.png")
    with pytest.raises(ValueError, match="smaller than 16 pixels"):
        open_photo(tmp_path / "tiny.png")


# Teacher and loss


def test_logits_give_their_probabilities_back() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]], np.float32)
    logits = centred_logits(probabilities)
    assert logits.mean(axis=1) == pytest.approx(0, abs=1e-5)
    assert np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) == pytest.approx(probabilities, abs=1e-6)


def test_the_loss_is_the_teachers_entropy_where_the_student_agrees() -> None:
    targets = centred_logits(np.array([[0.5, 0.5], [0.9, 0.1]], np.float32))
    entropy = [math.log(2), -0.9 * math.log(0.9) - 0.1 * math.log(0.1)]
    # A constant added to all logits changes no probability, and no loss.
    for shift in (0.0, 3.0):
        assert np.asarray(DistillationLoss(10.0).call(targets, targets + shift)) == pytest.approx(entropy, abs=1e-5)
    doubled = np.asarray(DistillationLoss(0.0).call(targets, 2 * targets))
    regression = np.asarray(DistillationLoss(1.0).call(targets, 2 * targets)) - doubled
    assert regression == pytest.approx((targets**2).mean(axis=1) / targets.var(), abs=1e-5)
    assert np.asarray(agreement(targets, targets * [[1, 1], [-1, -1]])).tolist() == [1.0, 0.0]


def test_the_regression_fades(tmp_path: Path) -> None:
    config = make_config((tmp_path,), (), options(tmp_path, epochs=100))
    weights = [config.regression_weight_at(epoch) for epoch in range(100)]
    assert weights[:61] == [10.0] * 61 and weights[75:] == [0.0] * 25
    assert all(after < before for before, after in itertools.pairwise(weights[60:76]))


@pytest.mark.parametrize("content", [{}, {"note.txt": "no model"}])
def test_a_folder_without_a_model_is_no_teacher(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match="is no teacher"):
        open_teacher(tmp_path)


# Student


def residual_network(stride: int, kernel: int = 1) -> keras.Model:
    """A small network whose last block begins with a stride, as ResNet-50's stages do."""
    image = keras.Input((16, 16, 3))
    cut = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="cut")(image)
    one = keras.layers.Conv2D(8, kernel, stride, padding="same", name="one")(cut)
    two = keras.layers.Conv2D(8, 1, stride, padding="same", name="two")(cut)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add(name="sum")([one, two]))
    x = keras.layers.Dense(5, name="labels")(x)
    return keras.Model(image, keras.layers.Softmax(name="probabilities")(x))


@pytest.mark.parametrize(("stride", "kernel", "positions"), [(1, 1, 16), (2, 1, 8), (2, 3, 16)])
def test_trunk_and_head_are_the_network(stride: int, kernel: int, positions: int) -> None:
    network = residual_network(stride, kernel)
    student = divide(network, "cut", "float32")
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    features = student.features(images)
    assert features.shape[1:3] == (positions, positions)
    parts = keras.ops.softmax(student.head(features))
    assert np.asarray(parts) == pytest.approx(np.asarray(network(images)), abs=1e-6)


def test_the_network_gets_the_heads_weights() -> None:
    network = residual_network(2)
    student = divide(network, "cut", "mixed_bfloat16")
    trunk = network.get_layer("cut").get_weights()[0].copy()
    student.head.set_weights([np.full_like(weights, 0.25) for weights in student.head.get_weights()])
    updated = student.updated()
    assert updated is network and (updated.get_layer("labels").get_weights()[0] == 0.25).all()
    assert (updated.get_layer("cut").get_weights()[0] == trunk).all()


@pytest.mark.parametrize(("layer", "sentence"), [("nowhere", "has no layer nowhere"), ("one", "bypass one")])
def test_a_network_is_divided_where_all_of_it_passes(layer: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        divide(residual_network(2), layer, "float32")


# Photos and the cache


def test_photos_like_excluded_ones_are_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    Image.open(tmp_path / "3.png").resize((90, 90)).save(held_out / "copy.jpg")
    photos = [tmp_path / f"{number}.png" for number in range(6)]
    config = make_config(tuple(photos), (held_out,), options(tmp_path))
    chosen = choose_photos(config)
    assert chosen.near_duplicates == (photos[3].resolve(),)
    assert {*chosen.train, *chosen.validation} == {path.resolve() for path in photos} - {photos[3].resolve()}
    assert choose_photos(config) == chosen
    Image.new("RGB", (50, 50)).save(photos[0])
    assert choose_photos(config).digest != chosen.digest


def test_every_pass_has_every_photo_once() -> None:
    photos = [Path(f"{number}.jpg") for number in range(20)]
    planned = list(plan_views(photos, range(3), 1))
    for number in range(3):
        own = [path for path, pass_ in planned[20 * number : 20 * (number + 1)]]
        assert sorted(own) == sorted(photos) and own != photos
    assert planned[20:40] == list(plan_views(photos, [1], 1))


def test_shards_return_what_was_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = [generator.normal(size=(count, 2, 2, 3)).astype(np.float16) for count in (3, 4)]
    logits = [generator.normal(size=(count, 5)).astype(np.float16) for count in (3, 4)]
    for number in range(2):
        assert not has_shard(tmp_path, number)
        write_shard(tmp_path, number, features[number], logits[number])
    # What a killed process left half-written is no shard.
    np.save(tmp_path / ".part-00002-features.npy", features[0])
    views = Shards([tmp_path])
    assert len(views) == 7 and views.shapes == ((2, 2, 3), (5,)) and not has_shard(tmp_path, 2)
    order = np.array([6, 0, 3, 2])
    read, answers = views.read(order)
    assert (read == np.concatenate(features)[order]).all() and (answers == np.concatenate(logits)[order]).all()


def test_the_cache_goes_on_where_it_was(tmp_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "VIEWS_PER_SHARD", 4)
    root = write_shapes(tmp_path / "shapes", 3)
    (root / "circle" / "001.png").write_bytes(b"no image")
    planned = list(plan_views(sorted(root.rglob("*.png")), [0], 1))
    maker = ViewMaker(RunTeacher(teacher), SIDE, 1)
    calls: list[int] = []

    def features(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return images.astype(np.float32)

    folder = tmp_path / "cache"
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        feature_cache.cache_features(folder, planned, maker, features, done.append)
    assert has_shard(folder, 0) and not has_shard(folder, 1)
    first = (folder / "00000-features.npy").stat().st_mtime_ns
    feature_cache.cache_features(folder, planned, maker, features, done.append)
    assert (folder / "00000-features.npy").stat().st_mtime_ns == first
    views = Shards([folder])
    assert len(views) == 8 and [path.name for path in maker.unreadable] == ["001.png"]
    images, logits = views.read(range(8))
    # Each row's logits are the teacher's for that row's view: at the same size, both saw the same pixels.
    again = centred_logits(maker.teacher.probabilities(list(images.astype(np.uint8))))
    assert logits == pytest.approx(again, abs=0.02)


def test_photos_that_cannot_be_read_are_no_photos(tmp_path: Path, teacher: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    for frozen in ({}, {"weights": str(teacher / "model.keras"), "frozen_until": "conv2d"}):
        config = make_config((tmp_path,), (), options(teacher, **frozen))
        # Keras numbers layers' names: the student's first convolution is the first one now.
        keras.utils.clear_session()
        with pytest.raises(TrainingError, match="none of"):
            run(config, tmp_path / "run")
        assert read_run(tmp_path / "run")["status"] == "stopped"
        shutil.rmtree(tmp_path / "run")


# Coverage


def test_views_that_the_teacher_is_sure_of_are_counted() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.51, 0.4, 0.09], [0.5, 0.3, 0.2], [0.05, 0.05, 0.9]], np.float32)
    logits = centred_logits(probabilities).astype(np.float16)
    assert count_sure_views([logits[:1], logits[1:]], 3).tolist() == [2, 0, 1]
    assert count_sure_views([], 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ([20, 50], "is sure of 70 of 100 views: 20 or more of each of its 2 classes."),
        ([0, 19, 20], "is sure of 39 of 100 views.  2 of its 3 classes have fewer than 20, 1 of them none: photos"),
    ],
)
def test_missing_photos_are_named(counts: list[int], sentence: str) -> None:
    assert sentence in describe(np.array(counts), 100)


# Whole runs


def test_a_student_learns_without_labels(shapes: Path, teacher: Path, tmp_path: Path) -> None:
    config = make_config((shapes,), (), options(teacher, epochs=8))
    described = run(config, tmp_path)
    # Chance is 0.33.
    assert described["status"] == "finished" and described["validation"]["agreement"] > 0.6
    assert described["history"][-1]["val_loss"] < described["history"][0]["val_loss"]
    assert described["labels"] == list(SHAPES) and described["trained_parameters"] == described["parameters"]
    trained = TrainedRun.read(tmp_path)
    assert trained.held_out() == ("none", []) and len(trained.training_photos()) == described["dataset"]["train"]
    assert "learned the answers of cifar-cnn" in trained.notes("none")
    assert trained.load_model().output_shape == (None, 3)


def test_a_stopped_run_goes_on_with_the_cached_features(shapes: Path, teacher: Path, tmp_path: Path) -> None:
    weights = teacher / "model.keras"
    student = make_config((shapes,), (), options(teacher, weights=str(weights), frozen_until="conv2d", epochs=1))
    keras.utils.clear_session()
    first = run(student, tmp_path / "run")
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "cache").rglob("*.npy")}
    assert first["trained_parameters"] < first["parameters"] and len(cached) == 2 * (1 + student.views_per_photo)
    rows = [row.split(",") for row in (tmp_path / "run" / "coverage.csv").read_text().splitlines()]
    assert rows[0] == ["sure_views", "label", "synset"] and {label for _, label, _ in rows[1:]} == set(SHAPES)
    assert [int(count) for count, _, _ in rows[1:]] == sorted(int(count) for count, _, _ in rows[1:])
    before, after = (
        next(layer for layer in keras.models.load_model(path, compile=False).layers if layer.weights).get_weights()
        for path in (weights, tmp_path / "run" / "model.keras")
    )
    assert (before[0] == after[0]).all()

    fields = json.loads((tmp_path / "run" / "run.json").read_text())
    fields["hyperparameters"]["epochs"] = 3
    fields["status"] = "stopped"
    (tmp_path / "run" / "run.json").write_text(json.dumps(fields))
    keras.utils.clear_session()
    second = run(DistillationConfig.from_fields(fields["hyperparameters"]), tmp_path / "run")
    assert [entry["epoch"] for entry in second["history"]] == [1, 2, 3]
    assert second["history"][0] == first["history"][0]
    assert {path: path.stat().st_mtime_ns for path in cached} == cached


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shapes", "--teacher", "shapes"], "is no teacher"),
        (["shapes", "--teacher", "run", "--frozen-until", "conv2d"], "--frozen-until needs --weights"),
        (["shapes", "--teacher", "run", "--views-per-epoch", "8"], "--batch-size is larger"),
        (["shapes", "--teacher", "run", "--out", "run"], "run holds a run"),
        (["--resume", "shapes"], "is not the folder of a training run"),
        (["--resume", "run"], "is finished"),
    ],
)
def test_mistakes_get_a_sentence(
    shapes: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shapes").symlink_to(shapes)
    Path("run").symlink_to(teacher)
    result = CliRunner().invoke(distil, arguments)
    assert isinstance(result.exception, TrainingError), result.output
    with pytest.raises(TrainingError, match=sentence):
        raise result.exception


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "Give either PHOTOS, or --resume"), (["."], "Give a --teacher"), (["nowhere"], "does not exist")],
)
def test_wrong_usage(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(distil, arguments)
    assert result.exit_code == 2 and sentence in result.output


def test_the_command_distils(shapes: Path, teacher: Path, tmp_path: Path) -> None:
    given = [str(shapes), "--teacher", str(teacher), "--architecture", "cifar-cnn", "--side", str(SIDE)]
    given += ["--epochs", "1", "--views-per-epoch", "64", "--batch-size", "16", "--precision", "float32"]
    given += ["--exclude", str(shapes / "circle" / "000.png"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(distil, [*given, "--cache", str(tmp_path / "cache")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "the teacher's answer for" in result.output and read_run(tmp_path / "run")["method"] == "distillation"
