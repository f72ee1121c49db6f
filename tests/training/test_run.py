"""A whole training on coloured shapes: it learns, stops early, is killed and goes on, and the command's sentences."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from core.paths import REPOSITORY_ROOT

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

import keras

from cli.train import train
from core.errors import TrainingError
from tests.training.helpers import SHAPES, SIDE, toy_config, write_shapes
from training import weights
from training.architectures import ARCHITECTURES
from training.checkpoints import Progress, load_progress, restore, save_checkpoint
from training.config import make_config
from training.data import prepare_data
from training.run_folder import read_run
from training.train import Training


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 100)


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of some epochs."""
    folder = tmp_path_factory.mktemp("run")
    config = toy_config(shapes, epochs=8, dropout=0.0, learning_rate=0.02, warmup_epochs=1)
    Training(config, prepare_data(config, folder / "cache", Console()), folder, Console()).run()
    return folder


def test_shapes_are_learned(trained: Path) -> None:
    run = read_run(trained)
    assert run["status"] == "finished" and run["labels"] == list(SHAPES)
    # Chance is 0.33.
    assert run["test"]["accuracy"] > 0.7 and run["test"]["images"] == 60
    assert run["history"][-1]["loss"] < run["history"][0]["loss"]
    assert {name: run["dataset"][name] for name in ("train", "validation", "test")} == {
        "train": 180,
        "validation": 60,
        "test": 60,
    }


def test_the_folder_holds_what_its_readers_want(trained: Path) -> None:
    run = read_run(trained)
    with (trained / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in history] == list(range(1, 9))
    best = max(history, key=lambda row: float(row["val_accuracy"]))
    assert int(best["epoch"]) == run["best_epoch"]
    assert (trained / "curves.png").stat().st_size > 1000
    assert list((trained / "tensorboard").glob("events.*"))
    assert len(list((trained / "checkpoints").iterdir())) == 1
    assert run["input"] == {
        "height": 16,
        "width": 16,
        "channels": "RGB",
        "dtype": "float32",
        "subtract": [125.3, 123.0, 113.9],
        "scale": 1.0,
        "resize": "largest centred square, bicubic",
    }
    model = keras.models.load_model(trained / "model.keras", compile=False)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    # The best epoch's weights, not the last one's: its accuracy comes out again.
    assert run["validation"]["accuracy"] == pytest.approx(float(best["val_accuracy"]), abs=1e-4)


@pytest.mark.usefixtures("quick")
def test_a_stuck_training_ends(shapes: Path, tmp_path: Path) -> None:
    # Nothing can be learned at such a rate.
    config = toy_config(shapes, epochs=20, patience=2, optimizer="sgd", learning_rate=1e-12, warmup_epochs=0)
    console = Console(record=True)
    run = Training(config, prepare_data(config, tmp_path / "cache", Console()), tmp_path, console).run()
    assert run["status"] == "finished"
    done = len(run["history"])
    assert done == run["best_epoch"] + 2 < 20
    assert f"Stopped after epoch {done} of 20: in 2 epochs, the validation accuracy was not" in console.export_text()

    # Extended, the run has its patience anew; the epochs that it has are not enough.
    arguments = ["--resume", str(tmp_path), "--cache", str(tmp_path / "cache"), "--epochs"]
    refused = CliRunner().invoke(train, [*arguments, str(done)])
    assert f"has {done} epochs already; give more with --epochs" in str(refused.exception)
    extended = CliRunner().invoke(train, [*arguments, "30"], catch_exceptions=False)
    assert extended.exit_code == 0 and f"{done} epochs done" in extended.output
    run = read_run(tmp_path)
    assert (run["status"], run["hyperparameters"]["epochs"]) == ("finished", 30)
    assert [entry["epoch"] for entry in run["history"]] == list(range(1, len(run["history"]) + 1))
    assert len(run["history"]) == max(done, run["best_epoch"]) + 2
    shutil.rmtree(tmp_path / "checkpoints")
    refused = CliRunner().invoke(train, [*arguments, "40"])
    assert "has no checkpoint to continue from" in str(refused.exception)


@pytest.mark.parametrize("option", [["--learning-rate", "1"], ["--classes", "2"], ["--seed", "1"]])
def test_a_resumed_run_keeps_its_options(trained: Path, option: list[str]) -> None:
    result = CliRunner().invoke(train, ["--resume", str(trained), "--epochs", "9", *option])
    assert result.exit_code == 2 and f"{option[0]}: a resumed run keeps its options" in result.output


@pytest.mark.usefixtures("quick")
def test_a_diverged_training_says_so(shapes: Path, tmp_path: Path) -> None:
    config = toy_config(shapes, optimizer="sgd", learning_rate=1e30, clip_norm=0.0, warmup_epochs=0)
    with pytest.raises(TrainingError, match="loss is no longer a number in epoch 1; try a smaller --learning-rate"):
        Training(config, prepare_data(config, tmp_path / "cache", Console()), tmp_path, Console()).run()
    assert read_run(tmp_path)["status"] == "stopped"


@pytest.mark.usefixtures("quick")
def test_frozen_layers_rest_in_the_first_stage(shapes: Path, tmp_path: Path) -> None:
    """From another run's model: first only the new layer learns, then the last ones do; in mixed precision."""
    start = ARCHITECTURES["cifar-cnn"].build(SIDE, len(SHAPES), 0.0)
    source = tmp_path / "start.keras"
    classes = keras.layers.Dense(4, name="other_labels")(start.get_layer("labels").input)
    keras.Model(start.input, classes).save(source)
    for frozen_epochs, unchanged in ((1, [True, True]), (0, [True, False])):
        config = toy_config(
            shapes, weights=str(source), epochs=1, frozen_epochs=frozen_epochs, precision="bfloat16",
            initialized_learning_rate=0.01, unfreeze=0.5,
        )  # fmt: skip
        folder = tmp_path / str(frozen_epochs)
        Training(config, prepare_data(config, tmp_path / "cache", Console()), folder, Console()).run()
        model = keras.models.load_model(folder / "model.keras", compile=False)
        pairs = ([m.get_layer(name).get_weights()[0] for m in (start, model)] for name in ("conv2d", "dense"))
        assert [bool((before == after).all()) for before, after in pairs] == unchanged


def test_a_checkpoint_holds_the_optimizer(tmp_path: Path) -> None:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.AdamW(0.01), "mse")
        return model

    images, targets = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
    first, second = build(), build()
    first.fit(images, targets, epochs=3, verbose=0)
    progress = Progress()
    progress.add({"val_accuracy": 0.5})
    save_checkpoint(tmp_path, first, progress)
    # What a killed process left half-written is no checkpoint.
    (tmp_path / "checkpoints" / ".part").mkdir()
    found, folder = load_progress(tmp_path)
    assert found == progress and folder is not None
    restore(folder, second, optimizer=True)
    for model in (first, second):
        model.fit(images, targets, epochs=1, verbose=0, shuffle=False)
    assert int(second.optimizer.iterations) == 4
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-7)


def test_progress_knows_the_best_epoch_and_when_it_is_stuck() -> None:
    progress = Progress()
    assert [progress.add({"val_accuracy": value}) for value in (0.2, 0.4, 0.4, 0.3)] == [True, True, False, False]
    assert (progress.epochs_done, progress.best_epoch) == (4, 2)
    assert progress.is_stuck(2) and not progress.is_stuck(3) and not progress.is_stuck(0)
    assert progress.is_stuck(1, since=3) and not progress.is_stuck(2, since=3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--weights", "none"], "/nowhere does not exist"),
        (["shapes", "--weights", "nowhere.h5"], "the weights .*/nowhere.h5 do not exist"),
        (["shapes", "--augment", "flip,blur"], "unknown augmentation blur"),
        (["shapes", "--architecture", "cifar-cnn", "--weights", "imagenet"], "no ImageNet weights of cifar-cnn"),
        (["shapes", "--validation", "0.6", "--test", "0.5"], "must leave images to train on"),
        (["shapes", "--epochs", "2", "--frozen-epochs", "3"], "--frozen-epochs is larger than --epochs"),
        (["--resume", "shapes"], "is not the folder of a training run"),
        (["shapes"], "the ImageNet weights of resnet50 cannot be downloaded.*--weights FILE"),
        (["shapes", "--out", "taken", "--weights", "none"], "taken holds a run; continue it with --resume taken"),
    ],
)
def test_mistakes_get_a_sentence(
    shapes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "are_available", lambda architecture: False)
    shutil.copytree(shapes, "shapes")
    Path("taken").mkdir()
    shutil.copy(trained / "run.json", "taken")
    result = CliRunner().invoke(train, arguments)
    assert isinstance(result.exception, TrainingError), result.output
    with pytest.raises(TrainingError, match=sentence):
        raise result.exception
    # Nothing was begun.
    assert not (tmp_path / "var" / "runs").exists()


@pytest.mark.parametrize("arguments", [[], ["shapes", "--resume", "run"]])
def test_data_or_resume(arguments: list[str]) -> None:
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 2 and "Give either DATA, or --resume" in result.output


def test_without_tensorflow_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(train, ["shapes"])
    assert "`make setup` installs it" in str(result.exception)


def test_options_beat_the_architecture_and_that_beats_all() -> None:
    options = {"kind": "auto", "architecture": "vgg16", "precision": "auto", "seed": 1, "side": None, "epochs": 3}
    options |= {"validation_share": 0.1, "test_share": 0.1, "augment": "none", "weights": None}
    config = make_config(Path("x"), options)
    assert (config.epochs, config.learning_rate, config.clip_norm) == (3, 2e-4, 1.0)
    assert (config.weights, config.side, config.augment) == ("imagenet", 160, ())
    fields = json.loads(json.dumps(config.fields()))
    assert type(config).from_fields(fields) == config
    # Runs of earlier versions lack the later fields.
    assert (
        type(config).from_fields({key: fields[key] for key in fields.keys() - {"classes", "extended_from"}}) == config
    )


def test_help_imports_no_tensorflow() -> None:
    code = "import sys, cli.train; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY_ROOT, check=True, env=os.environ)


@pytest.mark.usefixtures("quick")
def test_data_sets_that_have_different_classes_are_learned_together(tmp_path: Path) -> None:
    write_shapes(tmp_path / "one", 60)
    shutil.rmtree(tmp_path / "one" / SHAPES[-1])
    write_shapes(tmp_path / "two", 60, seed=1)
    shutil.rmtree(tmp_path / "two" / SHAPES[0])
    classes = "\n".join(f'{shape} = "{name}"' for shape, name in zip(SHAPES, ("ant", "bee", "cock"), strict=True))
    sources = (f'[[source]]\nimages = "{name}/{{class}}/*"\n[source.classes]\n{classes}\n' for name in ("one", "two"))
    (tmp_path / "both.toml").write_text("\n".join(sources))
    config = toy_config(tmp_path / "both.toml", epochs=6, dropout=0.0, learning_rate=0.02, label_smoothing=0.1)
    data = prepare_data(config, tmp_path / "cache", Console())
    training = Training(config, data, tmp_path / "run", Console())
    run = training.run()
    assert set(run["labels"]) == {"cock", "ant", "bee"} and len({sample.source for sample in data.samples}) == 2
    # Chance is 0.33; counted as in service, without what the source says.
    assert run["test"]["accuracy"] > 0.6 and 0.5 < run["history"][-1]["accuracy"] <= 1
