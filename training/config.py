"""What a training is told: one frozen object, stored in the run's folder, so that a resumed run goes on as it began."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TrainingError

OPTIMIZERS = ("adamw", "adam", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
AUGMENTATIONS = ("crop", "shift", "flip", "rotate", "shear", "colour", "degrade", "erase")
IMAGENET, NO_WEIGHTS = "imagenet", "none"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that decides about a training, apart from chance and the machine.

    Args:
        source: the data set: a folder, a ``.lst`` manifest or an archive.
        kind: its form, one of `training.datasets.KINDS`; ``auto``: by its looks.
        weights: ``imagenet``, ``none`` or a file.
        side: height and width of the model's input, pixels.
        frozen_epochs: so many epochs train the new layers only.
        learning_rate: the highest, for new layers; `initialized_learning_rate`: for layers whose weights were given.
        weight_decay: decoupled, as in AdamW; for SGD likewise.
        clip_norm: limit on the norm of all gradients together; 0: none.
        warmup_epochs: the learning rate grows from 0 meanwhile; may be a fraction.
        patience: so many epochs without a better validation accuracy end the training; 0: never.
        validation_share: of the images, where the data set itself has no such part.
        test_share: likewise.
    """

    source: str
    kind: str
    architecture: str
    weights: str
    side: int
    epochs: int
    frozen_epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    initialized_learning_rate: float
    momentum: float
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    dropout: float
    warmup_epochs: float
    patience: int
    augment: tuple[str, ...]
    precision: str
    validation_share: float
    test_share: float
    seed: int

    def __post_init__(self) -> None:
        if self.validation_share + self.test_share >= 1:
            raise TrainingError("validation and test together must leave images to train on")
        if self.frozen_epochs > self.epochs:
            raise TrainingError("--frozen-epochs is larger than --epochs")
        if unknown := sorted(set(self.augment) - set(AUGMENTATIONS)):
            raise TrainingError(f"unknown augmentation {', '.join(unknown)}; there are {', '.join(AUGMENTATIONS)}")

    def fields(self) -> dict[str, Any]:
        """As JSON holds it; `from_fields` reads it back."""
        return dataclasses.asdict(self) | {"augment": list(self.augment)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> TrainingConfig:
        """Raises TrainingError where `fields` are not those of a configuration."""
        try:
            return cls(**{**fields, "augment": tuple(fields["augment"])})
        except (KeyError, TypeError) as error:
            raise TrainingError(f"the run's hyperparameters cannot be read: {error}") from error

    @property
    def source_path(self) -> Path:
        """The data set's place."""
        return Path(self.source)
