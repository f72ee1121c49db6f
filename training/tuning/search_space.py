"""The hyperparameters that a search varies, and a training's configuration of a trial's values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from training.config import NO_WEIGHTS, TrainingConfig

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

LEARNING_RATE, BATCH_SIZE, UNFREEZE, AUGMENT = "learning_rate", "batch_size", "unfreeze", "augment"
# The learning rate is searched from an eighth to eight times that of the configuration, evenly in its logarithm.
_LEARNING_RATE_FACTOR = 8
_UNFREEZE = (0.0, 0.25, 0.5, 1.0)
NO_AUGMENTATION, FLIP, CONFIGURED, STRONG = "none", "flip", "configured", "configured+erase"


def names(base: TrainingConfig) -> list[str]:
    """The varied hyperparameters; how much is unfrozen matters only if there are initial weights."""
    return [LEARNING_RATE, BATCH_SIZE, *([] if base.weights == NO_WEIGHTS else [UNFREEZE]), AUGMENT]


def first_values(base: TrainingConfig) -> dict[str, Any]:
    """The values of the configuration itself, which the first trial has: no search ends worse than it began."""
    values = {LEARNING_RATE: base.learning_rate, BATCH_SIZE: base.batch_size, UNFREEZE: 1.0, AUGMENT: CONFIGURED}
    return {name: values[name] for name in names(base)}


def suggest(trial: BaseTrial, base: TrainingConfig) -> TrainingConfig:
    """Makes the configuration of a trial.

    The learning rate of initialized layers keeps its ratio to that of new ones.
    """
    rate = trial.suggest_float(
        LEARNING_RATE, base.learning_rate / _LEARNING_RATE_FACTOR, base.learning_rate * _LEARNING_RATE_FACTOR, log=True
    )
    sizes = sorted({max(1, base.batch_size // 2), base.batch_size, base.batch_size * 2})
    return replace(
        base,
        learning_rate=rate,
        initialized_learning_rate=base.initialized_learning_rate * (rate / base.learning_rate),
        batch_size=trial.suggest_categorical(BATCH_SIZE, sizes),
        unfreeze=trial.suggest_categorical(UNFREEZE, _UNFREEZE) if UNFREEZE in names(base) else base.unfreeze,
        augment=augmentations(trial.suggest_categorical(AUGMENT, (NO_AUGMENTATION, FLIP, CONFIGURED, STRONG)), base),
    )


def augmentations(choice: str, base: TrainingConfig) -> tuple[str, ...]:
    """The augmentations of one of the choices."""
    choices: dict[str, tuple[str, ...]] = {
        NO_AUGMENTATION: (),
        FLIP: ("flip",),
        CONFIGURED: base.augment,
        STRONG: tuple(dict.fromkeys((*base.augment, "erase"))),
    }
    return choices[choice]
