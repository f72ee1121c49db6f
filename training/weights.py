"""Initialize a network with weights: Keras's for ImageNet, or those of a file."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from core.errors import TrainingError
from core.sizes import format_bytes
from local_cloud.reachability import status_of
from training.config import IMAGENET, NO_WEIGHTS, TrainingConfig, check_weights_file

Weights = Mapping[str, list[NDArray[np.float32]]]

_DOWNLOADS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_REACHED_WITHIN_SECONDS = 4.0
# Names that Keras generates by counting the layers in the process: the same layer has another name next time.
_COUNTED_NAME = re.compile(r"(conv2d|batch_normalization|dense)(_\d+)?")
# The gain of a new residual block: with 1, its random output would dominate that of the pretrained layers.
_NEW_BLOCK_GAMMA = 0.1
# Of all arrays of a file; a ResNet-152's take 230 MiB.
_MAX_TOTAL_BYTES = 4 * 1024**3
_LAST_BATCH_NORM = re.compile(r"conv\d_block\d+_3_bn")


def imagenet_reachable(url: str = _DOWNLOADS, within_seconds: float = _REACHED_WITHIN_SECONDS) -> bool:
    """Whether the server of Keras's weights answers in time, with any status."""
    return status_of(url, within_seconds) is not None


def is_downloaded(architecture: str) -> bool:
    """Whether the weights of `architecture`, without its top, are in Keras's cache."""
    # Keras's own rule; it has no function that returns the folder.
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    models = home / "models"
    stem = {"inceptionv3": "inception_v3"}.get(architecture, architecture)
    return models.is_dir() and any(path.name.endswith("notop.h5") for path in models.glob(f"{stem}_weights*"))


def are_available(architecture: str) -> bool:
    """Whether Keras's weights of `architecture` are in its cache or can be downloaded."""
    return is_downloaded(architecture) or imagenet_reachable()


def require_available(config: TrainingConfig) -> None:
    """Checks a training's initial weights before its images are decoded, which may take minutes.

    Raises:
        TrainingError: they can neither be read nor downloaded.
    """
    if config.weights == IMAGENET and not are_available(config.architecture):
        raise TrainingError(
            f"the ImageNet weights of {config.architecture} cannot be downloaded: their server cannot be reached.  "
            "Give a file with --weights FILE (.h5, .npz or .keras), or start from random weights with --weights none"
        )
    if config.weights not in (IMAGENET, NO_WEIGHTS):
        read_weights(Path(config.weights))


def read_weights(file: Path) -> Weights:
    """Reads the weights in a file, by layer name, each layer's in Keras's order.

    ``.h5`` as keras.applications publishes them, ``.npz`` with keys ``layer/number``, or a ``.keras`` model.

    Raises:
        TrainingError: the file is missing, in another format, or damaged.
    """
    check_weights_file(file)
    try:
        match file.suffix:
            case ".npz":
                return _read_npz(file)
            case ".h5" | ".hdf5":
                return _read_h5(file)
            case _:
                return _named(keras.models.load_model(file, compile=False).layers)
    except (OSError, KeyError, ValueError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise TrainingError(f"the weights {file} cannot be read: {error}") from error


def initialize(model: keras.Model, file: Path) -> set[str]:
    """Sets the weights of `model`'s layers from `file`, by name, or by order if the names only count layers.

    Returns:
        The names of the layers whose weights were set.  The others keep their random weights, and new residual blocks
        begin with a small gain.

    Raises:
        TrainingError: the file cannot be read, or fits no layer.
    """
    given = read_weights(file)
    layers = [layer for layer in model.layers if layer.weights]
    counted = sum(bool(_COUNTED_NAME.fullmatch(name)) for name in given)
    names = _by_order(layers, given) if 2 * counted > len(given) else _by_name(layers, given)
    if not names:
        raise TrainingError(f"{file} fits no layer of {model.name}; is it of another architecture?")
    for layer in layers:
        if _LAST_BATCH_NORM.fullmatch(layer.name) and layer.name not in names:
            layer.gamma.assign(np.full(layer.gamma.shape, _NEW_BLOCK_GAMMA, np.float32))
    return names


def _by_name(layers: Iterable[keras.layers.Layer], given: Weights) -> set[str]:
    return {layer.name for layer in layers if layer.name in given and _assign(layer, given[layer.name])}


def _by_order(layers: Iterable[keras.layers.Layer], given: Weights) -> set[str]:
    names = set()
    for layer, weights in zip(layers, given.values(), strict=False):
        if not _assign(layer, weights):
            break
        names.add(layer.name)
    return names


def _assign(layer: keras.layers.Layer, weights: list[NDArray[np.float32]]) -> bool:
    if [tuple(variable.shape) for variable in layer.weights] != [array.shape for array in weights]:
        return False
    layer.set_weights(weights)
    return True


def _named(layers: Iterable[keras.layers.Layer]) -> Weights:
    return {layer.name: layer.get_weights() for layer in layers if layer.weights}


def _read_npz(file: Path) -> Weights:
    found: dict[str, dict[int, NDArray[np.float32]]] = {}
    # Without pickles: loading an array of objects could execute any code.
    with zipfile.ZipFile(file) as members:
        _check_total(file, sum(member.file_size for member in members.infolist()))
    with np.load(file, allow_pickle=False) as arrays:
        for key in arrays:
            layer, _, number = key.rpartition("/")
            found.setdefault(layer, {})[int(number)] = arrays[key]
    return {layer: [by_number[number] for number in sorted(by_number)] for layer, by_number in found.items()}


def _read_h5(file: Path) -> Weights:
    with h5py.File(file, "r") as opened:
        root = opened.get("model_weights", opened)
        if "layer_names" not in root.attrs:
            raise TrainingError(f"{file} does not name its layers as the files of keras.applications do")
        names = [_text(name) for name in root.attrs["layer_names"]]
        found = {name: [_own(root, name, _text(key)) for key in root[name].attrs["weight_names"]] for name in names}
        _check_total(file, sum(dataset.nbytes for datasets in found.values() for dataset in datasets))
        arrays = {name: [dataset[()] for dataset in datasets] for name, datasets in found.items()}
    return {name: weights for name, weights in arrays.items() if weights}


def _own(root: h5py.Group, layer: str, key: str) -> h5py.Dataset:
    """A dataset of the file itself: HDF5's links and external storage can refer to any other file of this machine."""
    path = f"{layer}/{key}"
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts) + 1):
        if not isinstance(root.get("/".join(parts[:depth]), getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is a link")
    dataset = root[path]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{path} is stored in another file")
    return dataset


def _check_total(file: Path, size_bytes: int) -> None:
    """Raises TrainingError if the arrays of a file, which may be compressed, take too much memory."""
    if size_bytes > _MAX_TOTAL_BYTES:
        raise TrainingError(
            f"the weights {file} have {format_bytes(size_bytes)}, more than {format_bytes(_MAX_TOTAL_BYTES)}"
        )


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
