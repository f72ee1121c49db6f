"""Helpers of the tests of `training`: small images that a network can distinguish, and configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from training.config import TrainingConfig, make_config

SHAPES = ("circle", "square", "triangle")
SIDE = 16


def draw_shape(shape: str, random: np.random.Generator) -> Image.Image:
    """A coloured shape on a ground of another colour, at a random place."""
    ground, ink = (tuple(int(v) for v in random.integers(low, low + 100, 3)) for low in (0, 150))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    draw = ImageDraw.Draw(image)
    x, y = (int(v) for v in random.integers(1, 5, 2))
    box = (x, y, x + 10, y + 10)
    if shape == "circle":
        draw.ellipse(box, fill=ink)
    elif shape == "square":
        draw.rectangle(box, fill=ink)
    else:
        draw.polygon([(x, y + 10), (x + 10, y + 10), (x + 5, y)], fill=ink)
    return image


def write_shapes(root: Path, each: int, seed: int = 0) -> Path:
    """A data set of `each` images of every shape, a folder for each class."""
    random = np.random.default_rng(seed)
    for shape in SHAPES:
        (root / shape).mkdir(parents=True)
        for number in range(each):
            draw_shape(shape, random).save(root / shape / f"{number:03d}.png")
    return root


def small_network(x: Any, dropout: float) -> Any:
    """In place of `cifar._reference`: TensorFlow needs seconds to prepare that one, however few images there are."""
    import keras

    x = keras.layers.Conv2D(16, 5, strides=2, activation="relu", name="conv2d")(x)
    return keras.layers.Dense(32, activation="relu", name="dense")(keras.layers.Flatten()(x))


def toy_config(data: Path, **options: Any) -> TrainingConfig:
    """A configuration that trains on `data` within seconds."""
    toy = {"architecture": "cifar-cnn", "side": SIDE, "batch_size": 16, "epochs": 2, "precision": "float32"}
    toy |= {"kind": "auto", "validation_share": 0.2, "test_share": 0.2, "seed": 1, "augment": "flip"}
    return make_config(data, {**toy, **options})
