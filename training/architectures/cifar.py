"""Build networks for images of 32 × 32 pixels."""

from __future__ import annotations

from typing import Any

import keras

# About the inverse of the standard deviation of CIFAR-10's pixels.
_SCALE = 1 / 64
# With a few hundred steps an epoch, the averages would lag behind the weights at Keras's default, 0.99.
_BATCH_NORM_MOMENTUM = 0.9
_REFERENCE_FILTERS = (32, 64, 128)
_RESNET_FILTERS = (24, 48, 96, 192)


def build(name: str, side: int, classes: int, dropout: float, imagenet: bool) -> keras.Model:
    """Builds a network, see `Architecture.build`; there are no ImageNet weights for these."""
    image = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(_SCALE)(image)
    x = _reference(x, dropout) if name == "cifar-cnn" else _resnet(x, dropout)
    x = keras.layers.Dense(classes, name="labels")(x)
    return keras.Model(image, keras.layers.Softmax(dtype="float32", name="probabilities")(x), name=name)


def _reference(x: Any, dropout: float) -> Any:
    """Two convolutions to a block, each block at half the size of the one before; about 0.55 million weights."""
    for filters in _REFERENCE_FILTERS:
        x = _convolution(_convolution(x, filters), filters)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Dense(128, activation="relu", name="dense")(keras.layers.Flatten()(x))
    return keras.layers.Dropout(dropout)(x)


def _resnet(x: Any, dropout: float) -> Any:
    """Nine convolutions, few of them at 32 and at 16 pixels, where they cost most; about 1.1 million weights."""
    first, second, *others = _RESNET_FILTERS
    x = _convolution(_convolution(_convolution(x, first), second, strides=2), second)
    for filters in others:
        x = _residual(keras.layers.MaxPooling2D()(_convolution(x, filters)), filters)
    return keras.layers.Dropout(dropout)(keras.layers.GlobalMaxPooling2D()(x))


def _residual(x: Any, filters: int) -> Any:
    return keras.layers.Add()([x, _convolution(_convolution(x, filters), filters)])


def _convolution(x: Any, filters: int, strides: int = 1) -> Any:
    x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM)(x))
