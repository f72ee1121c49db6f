"""The configuration of a training run: one frozen object, stored in the run's folder and read on resume."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from training.architectures import ARCHITECTURES

OPTIMIZERS = ("adamw", "adam", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
AUGMENTATIONS = ("crop", "shift", "flip", "rotate", "shear", "colour", "degrade", "erase")
IMAGENET, NO_WEIGHTS = "imagenet", "none"
# For what an architecture's own defaults leave out.
_DEFAULTS: dict[str, Any] = {
    "initialized_learning_rate": 6e-5,
    "momentum": 0.9,
    "clip_norm": 1.0,
    "label_smoothing": 0.0,
    "patience": 8,
}

WEIGHT_SUFFIXES = (".h5", ".hdf5", ".npz", ".keras")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The data set, the network and the hyperparameters of a run.

    Args:
        source: the data set: a folder, a ``.lst`` manifest or an archive.
        kind: its format, one of `training.datasets.KINDS`; ``auto``: detected.
        weights: ``imagenet``, ``none`` or a file.
        side: height and width of the model's input, pixels.
        frozen_epochs: the number of first epochs in which only the new layers are trained.
        learning_rate: the peak, for new layers; `initialized_learning_rate`: for layers with initial weights.
        weight_decay: decoupled, as in AdamW; also for SGD.
        clip_norm: limit of the global gradient norm; 0: none.
        warmup_epochs: epochs in which the learning rate grows from 0; may be a fraction.
        patience: the training stops after this many epochs without a better validation accuracy; 0: never.
        validation_share: share of the images, if the data set itself has no such part.
        test_share: likewise.
        classes: see `training.datasets.selection.select_classes`.
        unfreeze: the share of the layers with initial weights, counted from the output, that are trained after
            `frozen_epochs`; 1: all, 0: none, as in transfer learning without fine-tuning.
        extended_from: the epochs that were done when the finished run was extended; `patience` counts from there.
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
    # Later fields have defaults: descriptions of older runs lack them.
    classes: str = ""
    unfreeze: float = 1.0
    extended_from: int = 0

    def __post_init__(self) -> None:
        if self.validation_share + self.test_share >= 1:
            raise TrainingError("validation and test together must leave images to train on")
        if self.frozen_epochs > self.epochs:
            raise TrainingError("--frozen-epochs is larger than --epochs")
        if unknown := sorted(set(self.augment) - set(AUGMENTATIONS)):
            raise TrainingError(f"unknown augmentation {', '.join(unknown)}; there are {', '.join(AUGMENTATIONS)}")

    def fields(self) -> dict[str, Any]:
        """The fields as JSON values; `from_fields` reads them back."""
        return dataclasses.asdict(self) | {"augment": list(self.augment)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> TrainingConfig:
        """Reads what `fields` returns.

        Raises:
            TrainingError: `fields` are not those of a configuration.
        """
        try:
            return cls(**{**fields, "augment": tuple(fields["augment"])})
        except (KeyError, TypeError) as error:
            raise TrainingError(f"the run's hyperparameters cannot be read: {error}") from error

    @property
    def source_path(self) -> Path:
        """The data set's path."""
        return Path(self.source)


def check_weights_file(file: Path) -> Path:
    """Check that a file of initial weights exists and has a suffix that `training.weights.read_weights` reads.

    Raises:
        TrainingError: it does not.
    """
    if not file.is_file():
        raise TrainingError(f"the weights {file} do not exist")
    if file.suffix not in WEIGHT_SUFFIXES:
        raise TrainingError(f"{file}: weights are .h5 (as keras.applications has them), .npz or .keras files")
    return file


def make_config(data: Path, options: dict[str, Any]) -> TrainingConfig:
    """Makes a configuration of the given options, the architecture's defaults and the general defaults, in this order.

    Args:
        data: the data set.
        options: by the fields of `TrainingConfig`; None, or absent: the default.

    Raises:
        TrainingError: the options contradict each other or the architecture.
    """
    architecture = ARCHITECTURES[options["architecture"]]
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("weights") not in (None, IMAGENET, NO_WEIGHTS):
        # Absolute, since a run may be resumed from another working directory.
        given["weights"] = str(check_weights_file(Path(given["weights"]).resolve()))
    if isinstance(given.get("augment"), str):
        names = (name.strip() for name in given["augment"].split(","))
        given["augment"] = tuple(name for name in names if name and name != "none")
    weights = IMAGENET if architecture.pretrained else NO_WEIGHTS
    defaults = {**_DEFAULTS, "side": architecture.side, "weights": weights, **architecture.defaults}
    config = TrainingConfig(source=str(data.resolve()), **{**defaults, **given})
    if config.weights == IMAGENET and not architecture.pretrained:
        raise TrainingError(f"there are no ImageNet weights of {architecture.name}; leave --weights out")
    return config
