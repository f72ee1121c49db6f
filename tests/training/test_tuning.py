"""`elastic tune`: a search that is interrupted, resumed, limited in time, and whose best trial is trained on."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")
pytest.importorskip("optuna", reason="Optuna, which a search needs, is not installed")

import keras
import optuna

from cli import main
from core.errors import TrainingError
from tests.training.helpers import SIDE, toy_config, write_shapes
from training.checkpoints import DivergedError
from training.config import TrainingConfig
from training.data import TrainingData, prepare_data
from training.run_folder import read_run
from training.train import Stage, frozen_layers
from training.tuning import tuner as tuner_module
from training.tuning.config import TuningConfig, read_tuning
from training.tuning.results import COMPLETE, FAILED, PRUNED, TrialResult, ranked
from training.tuning.search_space import augmentations, first_values, suggest
from training.tuning.tuner import Tuner

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", 12)


def _run(*arguments: Any) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_a_search_is_resumed_and_its_best_trial_trained_on(shapes: Path, tmp_path: Path) -> None:
    folder, cache = tmp_path / "search", ("--cache", tmp_path / "cache")
    options = ("--architecture", "cifar-cnn", "--side", SIDE, "--precision", "float32", "--epochs", 1, "--classes", 2)
    first = _run("tune", shapes, *options, "--out", folder, "--trials", 1, *cache)
    assert "Trial 0 (1 of 1): learning rate 0.05, batch size 128, augment configured" in first.output
    resumed = _run("tune", "--resume", folder, "--trials", 2, *cache)
    assert "Trial 1 (2 of 2)" in resumed.output and "Trial 0 (" not in resumed.output
    with (folder / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    assert [(trial["trial"], trial["state"], trial["epochs"]) for trial in trials] == [
        (str(number), "complete", "1") for number in range(2)
    ]
    # Others than the first have values of their own.
    assert float(trials[0]["learning_rate"]) == 0.05 != float(trials[1]["learning_rate"])
    assert (folder / "tuning.png").stat().st_size > 1000

    best = max(trials, key=lambda trial: (float(trial["val_accuracy"]), -int(trial["trial"])))
    run_folder = folder / "trials" / f"{int(best['trial']):04d}"
    assert [path.parent for path in folder.glob("trials/*/model.keras")] == [run_folder]
    described = read_run(run_folder)
    assert described["test"] is None and described["validation"]["accuracy"] == pytest.approx(
        float(best["val_accuracy"]), abs=1e-4
    )
    assert described["labels"] == ["circle", "square"]
    assert f"elastic train --resume {run_folder} --epochs 10" in resumed.output
    # As the command that is printed, with fewer epochs.
    _run("train", "--resume", run_folder, "--epochs", 2, *cache)
    finished = read_run(run_folder)
    assert [entry["epoch"] for entry in finished["history"]] == [1, 2] and finished["test"]["images"] > 0
    assert finished["hyperparameters"]["learning_rate"] == pytest.approx(float(best["learning_rate"]))

    refused = CliRunner().invoke(main, ["tune", "--resume", str(folder), "--epochs", "2"])
    assert refused.exit_code == 2 and "only --trials and --minutes may be given" in refused.output
    refused = CliRunner().invoke(main, ["tune", str(shapes), "--out", str(folder)])
    assert refused.exit_code == 2 and f"continue it with --resume {folder}" in refused.output


Search = Callable[..., Tuner]


@pytest.fixture
def search(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Makes a search whose trainings have the given validation accuracies instead of networks."""
    data: list[TrainingData] = []

    def data_for(config: TrainingConfig) -> TrainingData:
        if not data:
            data.append(prepare_data(config, tmp_path / "cache", Console(quiet=True)))
        return data[0]

    def make(
        accuracies: list[list[float] | BaseException],
        trials: int,
        minutes: float = 60,
        warmup_epochs: float = 0.0,
        **clock: Any,
    ) -> Tuner:
        left = iter(accuracies)

        class Scripted:
            def __init__(self, config: TrainingConfig, *_: Any, after_epoch: Callable[..., None], **__: Any) -> None:
                self._after_epoch = after_epoch

            def run(self) -> dict[str, Any]:
                script = next(left)
                if isinstance(script, BaseException):
                    raise script
                history = [{"epoch": n, "val_accuracy": value} for n, value in enumerate(script, 1)]
                for entry in history:
                    self._after_epoch(entry)
                return {"history": history}

        monkeypatch.setattr(tuner_module, "Training", Scripted)
        monkeypatch.setattr(keras.utils, "clear_session", lambda: None)
        base = toy_config(shapes, epochs=3, warmup_epochs=warmup_epochs)
        ticks = clock.get("clock", lambda: 0.0)
        return Tuner(TuningConfig(base, trials, minutes), tmp_path, data_for, Console(quiet=True), ticks)

    return make


def test_bad_trials_are_pruned_and_diverged_ones_counted(search: Search) -> None:
    diverged = DivergedError("the loss is no longer a number")
    good: list[list[float] | BaseException] = [[0.5, 0.6, 0.7], [0.4, 0.9, 0.8], [0.5, 0.6, 0.7]]
    tuner = search([*good, diverged, [0.1, 0.2, 0.3], [0.5, 0.7, 0.9]], 6)
    tuner.run()
    assert [(each.state, each.epochs, each.accuracy) for each in tuner.results] == [
        (COMPLETE, 3, 0.7),
        (COMPLETE, 3, 0.9),
        (COMPLETE, 3, 0.7),
        (FAILED, 0, None),
        (PRUNED, 1, 0.1),
        (COMPLETE, 3, 0.9),
    ]
    # The first of equals, by its best epoch.
    assert tuner.best is not None and tuner.best.result.number == 1


def test_nothing_is_pruned_in_the_warm_up(search: Search) -> None:
    tuner = search([[0.5, 0.6, 0.7]] * 3 + [[0.1, 0.2, 0.3]], 4, warmup_epochs=1.5)
    tuner.run()
    assert [each.epochs for each in tuner.results] == [3, 3, 3, 3]


def test_an_interrupted_trial_is_run_again(search: Search) -> None:
    tuner = search([[0.5, 0.5, 0.5], KeyboardInterrupt()], 3)
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    interrupted = tuner._study.trials[1].params
    resumed = search([[0.6, 0.6, 0.6], [0.4, 0.4, 0.4]], 3)
    assert len(resumed.results) == 1
    resumed.run()
    assert [each.accuracy for each in resumed.results] == [0.5, 0.6, 0.4]
    assert resumed.results[1].values == interrupted != resumed.results[2].values


def test_the_budget_ends_a_search_after_its_first_trial(search: Search) -> None:
    # Each look at the clock takes a minute: the first trial is longer than the budget, and is completed.
    tuner = search([[0.5, 0.5, 0.5]], 9, minutes=0.5, clock=itertools.count(0, 60).__next__)
    tuner.run()
    assert [each.state for each in tuner.results] == [COMPLETE]
    # The second one is cut off.
    tuner = search([[0.6, 0.6, 0.6]], 9, minutes=1.5, clock=itertools.count(0, 60).__next__)
    tuner.run()
    assert [(each.state, each.epochs) for each in tuner.results] == [(COMPLETE, 3), (PRUNED, 1)]


def test_a_search_is_stored_whole(shapes: Path, tmp_path: Path) -> None:
    config = TuningConfig(toy_config(shapes), 7, 2.5)
    config.write(tmp_path)
    assert read_tuning(tmp_path) == config
    (tmp_path / "tune.json").write_text('{"format": 2}')
    with pytest.raises(TrainingError, match=r"tune.json has format 2; this version reads 1"):
        read_tuning(tmp_path)
    (tmp_path / "tune.json").write_text("[")
    with pytest.raises(TrainingError, match=r"tune.json cannot be read"):
        read_tuning(tmp_path)


def test_what_is_searched(shapes: Path, tmp_path: Path) -> None:
    base = toy_config(shapes, architecture="resnet50", side=32)
    assert first_values(base) == {"learning_rate": 5e-4, "batch_size": 16, "unfreeze": 1.0, "augment": "configured"}
    # The first values are the configuration.
    assert suggest(optuna.trial.FixedTrial(first_values(base)), base) == base
    values = {"learning_rate": 1e-3, "batch_size": 8, "unfreeze": 0.25, "augment": "configured+erase"}
    config = suggest(optuna.trial.FixedTrial(values), base)
    assert config.learning_rate == 1e-3 and config.initialized_learning_rate == pytest.approx(1.2e-4)
    assert (config.batch_size, config.unfreeze, config.augment) == (8, 0.25, ("flip", "erase"))
    assert [augmentations(name, base) for name in ("none", "flip", "configured")] == [(), ("flip",), ("flip",)]
    assert "unfreeze" not in first_values(toy_config(shapes))


@pytest.mark.parametrize(
    ("frozen", "unfreeze", "expected"),
    [(True, 1.0, "abcd"), (False, 1.0, ""), (False, 0.5, "ab"), (False, 0.25, "abc"), (False, 0.0, "abcd")],
)
def test_layers_are_unfrozen_from_the_output(frozen: bool, unfreeze: float, expected: str) -> None:
    assert frozen_layers("abcd", Stage(0, 1, frozen), unfreeze) == set(expected)


def test_trials_are_ranked_by_state_and_accuracy() -> None:
    results = [
        TrialResult(number, state, accuracy, 1, {})
        for number, (state, accuracy) in enumerate(
            [(FAILED, None), (COMPLETE, 0.5), (PRUNED, 0.9), (COMPLETE, 0.7), (COMPLETE, 0.7)]
        )
    ]
    assert [each.number for each in ranked(results)] == [3, 4, 1, 2, 0]
