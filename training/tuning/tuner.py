"""Run a hyperparameter search: trials within a budget, pruned and resumable, each a training run of its own."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState
from rich.console import Console

from training.checkpoints import DivergedError
from training.config import TrainingConfig
from training.data import TrainingData
from training.datasets.samples import VALIDATION
from training.run_folder import CHECKPOINTS_FOLDER, MODEL_FILE, TENSORBOARD_FOLDER
from training.train import Training
from training.tuning.config import STUDY_FILE, TRIALS_FOLDER, TuningConfig
from training.tuning.results import TrialResult, to_result
from training.tuning.search_space import first_values, suggest

_DIVERGED = "diverged"
# As many trials run to their end before others are compared with them.
_TRIALS_BEFORE_PRUNING = 3


class _BudgetOverError(Exception):
    """The session's time is over."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best complete trial, with the folder of its run."""

    result: TrialResult
    folder: Path


class Tuner:
    """A search in `folder`, new or resumed.

    Args:
        config: its `base` with a `precision` other than ``auto``.
        data_for: the data set, prepared for a trial's configuration.
        clock: seconds, for the budget.
        on_trial: called after each trial.
    """

    def __init__(
        self,
        config: TuningConfig,
        folder: Path,
        data_for: Callable[[TrainingConfig], TrainingData],
        console: Console,
        clock: Callable[[], float],
        on_trial: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._data_for = data_for
        self._console = console
        self._clock = clock
        self._on_trial = on_trial
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = self._open()
        self._deadline = clock() + 60 * config.minutes

    @property
    def results(self) -> list[TrialResult]:
        """The finished trials, in the order of their numbers, without those that were interrupted."""
        return [
            to_result(trial)
            for trial in self._study.trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or _DIVERGED in trial.user_attrs
        ]

    @property
    def best(self) -> Best | None:
        """The best complete trial; the first one of equals."""
        complete = [trial for trial in self._study.trials if trial.state == TrialState.COMPLETE]
        if not complete:
            return None
        trial = max(complete, key=lambda each: (each.value or 0.0, -each.number))
        return Best(to_result(trial), self.trial_folder(trial.number))

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial's run."""
        return self._folder / TRIALS_FOLDER / f"{number:04d}"

    def run(self) -> None:
        """Runs the remaining trials, as many as the budget allows.

        Raises:
            TrainingError: the data set or the weights cannot be used.
        """
        while len(self.results) < self._config.trials and not self._is_over():
            self._run_trial(self._study.ask())
            self._on_trial()

    def _open(self) -> optuna.Study:
        storage = JournalStorage(JournalFileBackend(str(self._folder / STUDY_FILE)))
        study = optuna.create_study(
            study_name="tune",
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            # In the warm-up, a trial with a small learning rate is worse than it will be.  Epochs count from 1.
            pruner=optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, 1 + math.ceil(self._config.base.warmup_epochs)),
        )
        # Else a resumed search would draw the same random values again.
        study.sampler = optuna.samplers.TPESampler(seed=self._config.base.seed + len(study.trials))
        if not study.trials:
            study.enqueue_trial(first_values(self._config.base))
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            # Its process has ended; it is run again from its beginning.
            shutil.rmtree(self.trial_folder(trial.number), ignore_errors=True)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        return study

    def _run_trial(self, trial: Trial) -> None:
        before = self.best
        config = suggest(trial, self._config.base)
        count = f"{len(self.results) + 1} of {self._config.trials}"
        self._print(f"Trial {trial.number} ({count}): {describe(trial.params)}")
        folder = self.trial_folder(trial.number)

        def after_epoch(entry: dict[str, float]) -> None:
            trial.report(entry["val_accuracy"], int(entry["epoch"]))
            last = entry["epoch"] >= config.epochs
            if not last and before is not None and self._is_over():
                raise _BudgetOverError
            if not last and trial.should_prune():
                raise optuna.TrialPruned

        # Each trial would leave its network's graphs in memory.
        keras.utils.clear_session()
        training = Training(
            config, self._data_for(config), folder, self._console, scored=(VALIDATION,), after_epoch=after_epoch
        )
        try:
            run = training.run()
        except (optuna.TrialPruned, _BudgetOverError) as reason:
            self._study.tell(trial, state=TrialState.PRUNED)
            why = "the time is over" if isinstance(reason, _BudgetOverError) else "others were better at this epoch"
            self._print(f"Trial {trial.number} stopped: {why}.")
        except DivergedError as error:
            trial.set_user_attr(_DIVERGED, True)
            self._study.tell(trial, state=TrialState.FAIL)
            self._print(f"Trial {trial.number} failed: {error}.")
        else:
            self._study.tell(trial, max(entry["val_accuracy"] for entry in run["history"]))
        self._discard_all_but_the_best(before, trial.number)

    def _discard_all_but_the_best(self, before: Best | None, number: int) -> None:
        """Deletes the models and checkpoints of the last trial or of the best one before: they would fill the disk."""
        best = self.best
        for folder in {self.trial_folder(number), *([before.folder] if before else [])}:
            if best is None or folder != best.folder:
                (folder / MODEL_FILE).unlink(missing_ok=True)
                for name in (CHECKPOINTS_FOLDER, TENSORBOARD_FOLDER):
                    shutil.rmtree(folder / name, ignore_errors=True)

    def _is_over(self) -> bool:
        return self.best is not None and self._clock() >= self._deadline

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def describe(values: dict[str, Any]) -> str:
    """A trial's values as a phrase."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.2g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
    )
