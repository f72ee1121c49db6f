"""The student: a network in two parts, the frozen trunk, whose output is cached, and the head, which is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from core.errors import TrainingError
from training.distillation.config import NO_LAYER


@dataclass(frozen=True, slots=True)
class Student:
    """A network and its parts.

    Attributes:
        network: float32 images to probabilities; what is saved and exported.
        trunk: images to the output of the last frozen layer; None if no layer is frozen.
        stride: of the positions of that output that the head reads.
        head: features, or images, to logits.

    Trunk and head are copies in the precision of the training.
    """

    network: keras.Model
    trunk: keras.Model | None
    stride: int
    head: keras.Model

    def features(self, images: Any) -> Any:
        """The trunk's features at the positions that the head reads, float32, for preprocessed images."""
        assert self.trunk is not None  # noqa: S101 - the caller checks whether there is one
        return keras.ops.cast(self.trunk(images, training=False)[:, :: self.stride, :: self.stride], "float32")

    def updated(self) -> keras.Model:
        """The network, with the head's present weights."""
        for layer in self.head.layers:
            if layer.weights:
                self.network.get_layer(layer.name).set_weights(layer.get_weights())
        return self.network


def divide(network: keras.Model, frozen_until: str, precision: str) -> Student:
    """Divides a network, of `Architecture.build`, after the layer `frozen_until`.

    If all that reads that layer's output are 1 × 1 convolutions with a stride, as in ResNet-50 v1, the features are
    only those at the positions that they read, and the head's convolutions have no stride: the same numbers, a quarter.

    Args:
        precision: the name of Keras's dtype policy for the copies.

    Raises:
        TrainingError: there is no such layer, or other layers bypass it.
    """
    logits = network.get_layer("labels").output
    if frozen_until == NO_LAYER:
        return Student(network, None, 1, _copy(keras.Model(network.input, logits), precision))
    try:
        cut = network.get_layer(frozen_until).output
    except ValueError as error:
        raise TrainingError(f"{network.name} has no layer {frozen_until}") from error
    try:
        rest = keras.Model(cut, logits)
    except ValueError as error:
        raise TrainingError(f"other layers bypass {frozen_until}; choose one that all of the network passes") from error
    readers = [layer for layer in rest.layers if any(entered is cut for entered in _inputs(network, layer))]
    stride = _common_stride(readers)
    head = _copy(rest, precision, without_stride={layer.name for layer in readers} if stride > 1 else frozenset())
    return Student(network, _copy(keras.Model(network.input, cut), precision), stride, head)


def _inputs(network: keras.Model, layer: keras.layers.Layer) -> list[Any]:
    if layer.name not in {own.name for own in network.layers}:
        return []
    entered = network.get_layer(layer.name).input
    return list(entered) if isinstance(entered, list | tuple) else [entered]


def _common_stride(readers: list[keras.layers.Layer]) -> int:
    """The stride of all of the readers, if they are 1 × 1 convolutions; else 1."""
    strides = {
        layer.strides[0]
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1) and len(set(layer.strides)) == 1
        else 1
        for layer in readers
    }
    return strides.pop() if len(strides) == 1 else 1


def _copy(model: keras.Model, precision: str, without_stride: set[str] | frozenset[str] = frozenset()) -> keras.Model:
    """A copy with weights of its own, for inputs of any size; the logits are always float32."""

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = "float32" if layer.name == "labels" else precision
        if layer.name in without_stride:
            config["strides"] = (1, 1)
        return type(layer).from_config(config)

    height, width = (None, None) if without_stride else model.input.shape[1:3]
    shape = (height, width, model.input.shape[-1])
    copied = keras.models.clone_model(model, input_tensors=keras.Input(shape), clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied
