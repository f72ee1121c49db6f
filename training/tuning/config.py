"""The configuration of a hyperparameter search, stored in its folder and read on resume."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from training.config import TrainingConfig
from training.run_folder import replace_text

TUNE_FILE = "tune.json"
STUDY_FILE = "study.log"
TRIALS_FILE = "trials.csv"
PLOT_FILE = "tuning.png"
TRIALS_FOLDER = "trials"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """A search over the hyperparameters of `base`.

    Args:
        base: the training that the first trial runs as it is; `base.epochs` is the length of each trial.
        trials: how many trials are run, those of earlier sessions included.
        minutes: the budget of one session; the first complete trial may exceed it.
    """

    base: TrainingConfig
    trials: int
    minutes: float

    def write(self, folder: Path) -> None:
        """Writes the configuration to a search's folder."""
        fields = {"format": _FORMAT, "trials": self.trials, "minutes": self.minutes, "base": self.base.fields()}
        replace_text(folder / TUNE_FILE, json.dumps(fields, indent=1) + "\n")


def read_tuning(folder: Path) -> TuningConfig:
    """Reads the configuration in a search's folder.

    Raises:
        TrainingError: there is none, or it is of another version or damaged.
    """
    path = folder / TUNE_FILE
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if fields["format"] != _FORMAT:
            raise TrainingError(f"{path} has format {fields['format']}; this version reads {_FORMAT}")
        return TuningConfig(TrainingConfig.from_fields(fields["base"]), int(fields["trials"]), float(fields["minutes"]))
    except FileNotFoundError as error:
        raise TrainingError(f"{folder} is not the folder of a search: it holds no {TUNE_FILE}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} cannot be read: {error!r}") from error
