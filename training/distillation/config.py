"""The configuration of a distillation: one frozen object, stored in the run's folder and read on resume."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from training.architectures import ARCHITECTURES
from training.config import NO_WEIGHTS, check_weights_file

# Of the training: until the first share the regression counts fully, from the second one on not at all.
_FADE = (0.6, 0.75)


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """The photos, the teacher, the student and the hyperparameters of a run.

    Args:
        photos: files and folders of photos, whose labels are not needed.
        exclude: photos that resemble one of these are left out: those that the student will be tested on.
        teacher: a model bundle's folder, or a training run's.
        weights: ``none`` or a file, see `training.weights.read_weights`.
        side: height and width of the student's input, pixels.
        frozen_until: the last of the frozen layers, whose output is computed once for each view; ``none``: all layers
            are trained, on views that are made anew for each step.
        views_per_photo: random crops of each photo; without frozen layers, each epoch has others.
        views_per_epoch: a checkpoint is written after so many, whatever the number of photos.
        learning_rate: the peak.
        warmup_epochs: epochs in which the learning rate grows from 0; may be a fraction.
        regression_weight: of the logits' square error against the cross-entropy, see `training.distillation.loss`.
    """

    photos: tuple[str, ...]
    exclude: tuple[str, ...]
    teacher: str
    architecture: str
    weights: str
    side: int
    frozen_until: str
    views_per_photo: int
    views_per_epoch: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    clip_norm: float
    warmup_epochs: float
    regression_weight: float
    precision: str
    seed: int

    @property
    def initialized_learning_rate(self) -> float:
        """The same as that of new layers: a student that continues from earlier weights continues at the full rate."""
        return self.learning_rate

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return max(1, self.views_per_epoch // self.batch_size)

    def regression_weight_at(self, epoch: int) -> float:
        """The weight of the regression in an epoch, counted from 0; it fades to 0, since the answers count at last."""
        first, last = _FADE
        return self.regression_weight * min(1.0, max(0.0, (last - epoch / self.epochs) / (last - first)))

    def fields(self) -> dict[str, Any]:
        """The fields as JSON values; `from_fields` reads them back."""
        return dataclasses.asdict(self) | {"photos": list(self.photos), "exclude": list(self.exclude)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> DistillationConfig:
        """Reads what `fields` returns.

        Raises:
            TrainingError: `fields` are not those of a distillation.
        """
        try:
            return cls(**{**fields, "photos": tuple(fields["photos"]), "exclude": tuple(fields["exclude"])})
        except (KeyError, TypeError) as error:
            raise TrainingError(f"the run's hyperparameters are not those of a distillation: {error}") from error


def make_config(photos: tuple[Path, ...], exclude: tuple[Path, ...], options: dict[str, Any]) -> DistillationConfig:
    """Makes a configuration of the given options and the architecture's defaults.

    Args:
        options: by the fields of `DistillationConfig`; None, or absent: the default.

    Raises:
        TrainingError: the options contradict each other or the architecture.
    """
    architecture = ARCHITECTURES[options["architecture"]]
    given = {name: value for name, value in options.items() if value is not None}
    given.setdefault("weights", NO_WEIGHTS)
    if given["weights"] != NO_WEIGHTS:
        # Absolute, since a run may be resumed from another working directory.
        given["weights"] = str(check_weights_file(Path(given["weights"]).resolve()))
    # Random layers are not worth freezing.
    frozen_until = NO_LAYER if given["weights"] == NO_WEIGHTS else architecture.frozen_until or NO_LAYER
    defaults = {"side": architecture.side, "frozen_until": frozen_until, "momentum": 0.9}
    config = DistillationConfig(
        photos=tuple(str(path.resolve()) for path in photos),
        exclude=tuple(str(path.resolve()) for path in exclude),
        **{**defaults, **given},
    )
    if config.frozen_until != NO_LAYER and config.weights == NO_WEIGHTS:
        raise TrainingError("--frozen-until needs --weights: random layers are not worth freezing")
    if config.batch_size > config.views_per_epoch:
        raise TrainingError("--batch-size is larger than --views-per-epoch")
    return config


NO_LAYER = "none"
