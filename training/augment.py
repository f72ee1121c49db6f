"""Augment training images with random changes, by Keras's layers where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

# Common shares and factors for photographs; each image gets its own random values.
CROP_AREA = (0.35, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
SHIFT = 0.125
ROTATION_TURNS = 12 / 360
SHEAR = 0.1
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.2, 0.2, 0.2, 0.02
# Keras multiplies the saturation by f / (1 - f), f from a range; a number instead of a range would begin at grey.
_SATURATION_RANGE = tuple(share / (1 + share) for share in (1 - SATURATION, 1 + SATURATION))
ERASED_AREA = (0.05, 0.25)
# How far an image is shrunk and at which quality it is stored as JPEG before it is enlarged again.
DEGRADED_SIDE = (48, 224)
DEGRADED_QUALITY = (30, 95)
# The share of images that are shrunk with aliasing, as Tiny-ImageNet was: docs/reference/shipped-model.md.
SAMPLED = 0.5

Augment = Callable[[Any], Any]


def make_augment(names: Sequence[str], side: int, seed: int) -> Augment:
    """Returns a function of batches, float32 RGB 0…255: (n, any, any, 3) → (n, side, side, 3), for tf.data's graphs.

    Args:
        names: some of `config.AUGMENTATIONS`; their order here does not matter.
    """
    steps: list[Augment] = [_crop(side) if "crop" in names else _resize(side)]
    if "shift" in names:
        steps.append(_shift(side))
    steps += [_layer(make(seed + number)) for number, (name, make) in enumerate(_LAYERS.items()) if name in names]
    if "degrade" in names:
        steps.append(_degrade(side))
    # Last, so that nothing smooths the patch's edge.
    if "erase" in names:
        erase = keras.layers.RandomErasing(scale=ERASED_AREA, fill_value=127.0, value_range=(0, 255), seed=seed)
        steps.append(_layer(erase))

    def augment(images: Any) -> Any:
        for step in steps:
            images = step(images)
        return tf.ensure_shape(tf.clip_by_value(images, 0.0, 255.0), (None, side, side, 3))

    return augment


_LAYERS: dict[str, Callable[[int], keras.layers.Layer]] = {
    "flip": lambda seed: keras.layers.RandomFlip("horizontal", seed=seed),
    "rotate": lambda seed: keras.layers.RandomRotation(ROTATION_TURNS, fill_mode="reflect", seed=seed),
    "shear": lambda seed: keras.layers.RandomShear(SHEAR, SHEAR, fill_mode="reflect", seed=seed),
    "colour": lambda seed: keras.layers.RandomColorJitter(
        (0, 255), BRIGHTNESS, CONTRAST, _SATURATION_RANGE, HUE, seed=seed
    ),
}


def _layer(layer: keras.layers.Layer) -> Augment:
    return lambda images: layer(images, training=True)


def _resize(side: int) -> Augment:
    return lambda images: images if images.shape[1] == side else tf.image.resize(images, (side, side), antialias=True)


def _crop(side: int) -> Augment:
    """Inception's crop (Szegedy et al. 2015): a random share of the area, at a random aspect, enlarged to `side`."""

    def crop(images: Any) -> Any:
        count = tf.shape(images)[0]
        area = tf.random.uniform([count], *CROP_AREA)
        aspect = tf.exp(tf.random.uniform([count], *(math.log(value) for value in CROP_ASPECT)))
        height, width = (tf.minimum(tf.sqrt(area * ratio), 1.0) for ratio in (1 / aspect, aspect))
        top, left = (tf.random.uniform([count]) * (1.0 - extent) for extent in (height, width))
        boxes = tf.stack([top, left, top + height, left + width], axis=1)
        return tf.image.crop_and_resize(images, boxes, tf.range(count), (side, side))

    return crop


def _shift(side: int) -> Augment:
    """Shifts each image by whole pixels, with mirrored borders: for images too small to be resampled."""
    most = round(SHIFT * side)

    def shift(images: Any) -> Any:
        padded = tf.pad(images, [[0, 0], [most, most], [most, most], [0, 0]], "REFLECT")
        count = tf.shape(images)[0]
        top, left = (tf.random.uniform([count, 1], 0, 2 * most + 1, tf.int32) + tf.range(side) for _ in range(2))
        return tf.gather(tf.gather(padded, top, axis=1, batch_dims=1), left, axis=2, batch_dims=1)

    return shift


def shrink(image: Any, side: Any, sampled: Any) -> Any:
    """Shrinks an image to `side` × `side` pixels, by every nth pixel (`sampled`) or by the mean of an area."""
    size = tf.stack([side, side])
    return tf.cond(
        sampled,
        lambda: tf.image.resize(image, size, method="nearest"),
        lambda: tf.image.resize(image, size, method="area"),
    )


def _degrade(side: int) -> Augment:
    """Shrinks each image, stores it as JPEG and enlarges it: the image's quality must not reveal its data set."""

    def degrade_one(image: Any) -> Any:
        smaller = tf.minimum(tf.random.uniform([], DEGRADED_SIDE[0], DEGRADED_SIDE[1] + 1, tf.int32), side)
        quality = tf.random.uniform([], DEGRADED_QUALITY[0], DEGRADED_QUALITY[1] + 1, tf.int32)
        shrunk = shrink(image, smaller, sampled=tf.random.uniform([]) < SAMPLED)
        stored = tf.image.adjust_jpeg_quality(tf.cast(tf.clip_by_value(shrunk, 0.0, 255.0), tf.uint8), quality)
        return tf.image.resize(tf.cast(stored, tf.float32), (side, side), method="bicubic")

    return lambda images: tf.map_fn(degrade_one, images)
