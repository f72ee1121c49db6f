"""Build the model bundle of Keras's ResNet-50 with its weights for ImageNet's 1000 classes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras

from app_tier.bundle import InputSpec
from core.errors import ExportError
from local_cloud.model_choice import BUNDLE_NAME
from training.export import Exported, export_bundle, read_images
from training.export_formats import Kind
from training.imagenet_names import class_names, labels

# Keras's `keras.applications.resnet50.preprocess_input`: BGR, less ImageNet's means, which are Caffe's.
INPUT = InputSpec(224, 224, "BGR", (103.939, 116.779, 123.68))
_NOTES = """\
**Training.** None here: the weights are those of `keras.applications.ResNet50(weights="imagenet")`, trained on \
ImageNet-1k's 1.28 million photos (He et al., "Deep Residual Learning for Image Recognition", 2015). Keras publishes \
0.749 top-1 and 0.921 top-5 on ImageNet's validation set for them; that was not measured again here."""


def load_network(weights: Path) -> Any:
    """Makes a ResNet-50 with the weights of an ``.h5`` file in the layout that Keras publishes.

    Raises:
        ExportError: the file does not exist, or belongs to another network.
    """
    if not weights.is_file():
        raise ExportError(f"the weights {weights} do not exist")
    # Checked before the network is made, which takes seconds.
    if not h5py.is_hdf5(weights):
        raise ExportError(f"{weights} does not hold the weights of Keras's ResNet-50: it is not an HDF5 file")
    network = keras.applications.ResNet50(weights=None)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network.load_weights(weights)
    except Exception as error:  # h5py and Keras raise many kinds of exceptions for a wrong file
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{weights} does not hold the weights of Keras's ResNet-50: {reason}") from error
    return network


def build_imagenet_bundle(
    weights: Path,
    calibration: Sequence[Path],
    folder: Path,
    *,
    count: int,
    kind: Kind = "int8",
    on_step: Callable[[str], None] = lambda step: None,
) -> Exported:
    """Builds the bundle with ImageNet's 1000 labels in `folder`, which must not exist yet.

    Args:
        weights: see `load_network`.
        calibration: photos of all kinds; `count` of them, chosen at random, are used.

    Raises:
        ExportError: see `load_network` and `export_bundle`.
    """
    on_step("loading the weights")
    network = load_network(weights)
    return export_bundle(
        network,
        labels(),
        INPUT,
        read_images(calibration, INPUT, count),
        folder,
        name=BUNDLE_NAME,
        kind=kind,
        architecture="ResNet-50 (v1, as keras.applications.ResNet50)",
        synsets=[synset for synset, _ in class_names()],
        notes=_NOTES,
        on_step=on_step,
    )
