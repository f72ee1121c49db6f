"""The network architectures of `elastic train`.  Only building a network imports TensorFlow."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import TrainingError

if TYPE_CHECKING:
    import keras

RESIZE = "largest centred square, bicubic"

# ImageNet's mean as He et al. and Simonyan & Zisserman subtract it, BGR.
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# The mean of CIFAR-10's training images, RGB.
_CIFAR_MEAN = (125.3, 123.0, 113.9)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network, its input's preprocessing, and its training's defaults.

    Args:
        module: builds the network: ``training.architectures.<module>.build(name, side, classes, dropout, imagenet)``.
        pretrained: whether Keras has ImageNet weights for it.
        smallest_side: the minimum side of its input, pixels.
        side: default height and width of a training's input, pixels.
        defaults: of a training, by the fields of `TrainingConfig`.
        frozen_until: the last layer that a distillation leaves as it is, if it has initial weights; empty: none.
    """

    name: str
    about: str
    module: str
    pretrained: bool
    side: int
    smallest_side: int
    channels: str
    subtract: tuple[float, float, float]
    defaults: Mapping[str, Any]
    frozen_until: str = ""

    def build(self, side: int, classes: int, dropout: float, imagenet: bool = False) -> keras.Model:
        """Builds a model with input float32 (n, side, side, 3) and output float32 (n, classes), probabilities.

        Args:
            imagenet: initialize with Keras's ImageNet weights, which are downloaded if necessary.

        Raises:
            TrainingError: `side` is too small for the network's layers.
        """
        if side < self.smallest_side:
            raise TrainingError(f"{self.name} needs at least {self.smallest_side} × {self.smallest_side} pixels")
        module = importlib.import_module(f"training.architectures.{self.module}")
        model: keras.Model = module.build(self.name, side, classes, dropout, imagenet)
        return model

    def input_fields(self, side: int) -> dict[str, Any]:
        """The input's preprocessing, as run folders and bundles describe it."""
        return {
            "height": side,
            "width": side,
            "channels": self.channels,
            "dtype": "float32",
            "subtract": list(self.subtract),
            # A network with another scale has a Rescaling layer, so that workers need no support for it.
            "scale": 1.0,
            "resize": RESIZE,
        }


_TRANSFER = {
    "optimizer": "adamw",
    "learning_rate": 5e-4,
    "initialized_learning_rate": 6e-5,
    "weight_decay": 0.02,
    "batch_size": 32,
    "epochs": 12,
    "frozen_epochs": 1,
    "warmup_epochs": 0.5,
    "dropout": 0.2,
    "augment": ("crop", "flip", "rotate", "shear", "colour", "degrade"),
}
_CIFAR = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 5e-3,
    "batch_size": 128,
    "clip_norm": 5.0,
    "warmup_epochs": 2.0,
    "frozen_epochs": 0,
    "augment": ("shift", "flip"),
}

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            "resnet50",
            "ResNet-50 (He et al. 2015)",
            "transfer",
            True,
            160,
            32,
            "BGR",
            _CAFFE_MEAN,
            _TRANSFER,
            "conv4_block6_out",
        ),
        Architecture(
            "vgg16",
            "VGG-16 (Simonyan & Zisserman 2014), global average pooling instead of its dense layers",
            "transfer",
            True,
            160,
            32,
            "BGR",
            _CAFFE_MEAN,
            {**_TRANSFER, "learning_rate": 2e-4, "initialized_learning_rate": 2e-5},
            "block4_pool",
        ),
        Architecture(
            "inceptionv3",
            "Inception v3 (Szegedy et al. 2015)",
            "transfer",
            True,
            160,
            75,
            "RGB",
            (127.5, 127.5, 127.5),
            _TRANSFER,
            "mixed7",
        ),
        Architecture(
            "cifar-cnn",
            "plain network for 32 × 32 pixels: three blocks of two convolutions, one dense layer",
            "cifar",
            False,
            32,
            8,
            "RGB",
            _CIFAR_MEAN,
            {**_CIFAR, "epochs": 10, "learning_rate": 0.05, "dropout": 0.1},
        ),
        Architecture(
            "cifar-resnet",
            "residual network for 32 × 32 pixels: nine convolutions, two pairs of them with a shortcut",
            "cifar",
            False,
            32,
            8,
            "RGB",
            _CIFAR_MEAN,
            {**_CIFAR, "epochs": 10, "warmup_epochs": 1.0, "dropout": 0.1, "label_smoothing": 0.1},
        ),
    )
}
