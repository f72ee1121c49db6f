"""From a Keras model to a LiteRT model in one of several number formats."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.errors import ExportError
from training.export_formats import Kind

_INT8_ACTIVATIONS = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
_INT16_ACTIVATIONS = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def convert(model: Any, kind: Kind, calibration: NDArray[np.float32]) -> bytes:
    """A ``.tflite`` file's content: float32 in and out whatever the kind, the batch's size free.

    Args:
        model: a Keras model with one image input and one output.
        calibration: preprocessed photos, shape (photos, height, width, 3), by which activations get their range;
            also gives the size of the input.  The float kinds and ``dynamic`` take only that from it.

    Raises:
        ExportError: the model cannot be converted.
    """
    converter = _converter(model, calibration.shape[1:])
    if kind not in get_args(Kind):
        raise ExportError(f"{kind!r} is not one of {', '.join(get_args(Kind))}")
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in ("int8", "int16"):
        converter.representative_dataset = lambda: ([photo[None]] for photo in calibration)
        converter.target_spec.supported_ops = [_INT8_ACTIVATIONS if kind == "int8" else _INT16_ACTIVATIONS]
    try:
        with _silence():
            content: bytes = _with_float_softmax(converter) if kind == "int8" else converter.convert()
    except Exception as error:  # the converter raises whatever comes out of MLIR
        raise ExportError(f"the model cannot be converted to {kind}: {str(error).strip().splitlines()[0]}") from error
    return content


def _converter(model: Any, image_shape: tuple[int, ...]) -> Any:
    # Around the model, so that one that takes images of any size gets the size that it will be used with.
    images = keras.Input(image_shape)
    with _silence():
        return tf.lite.TFLiteConverter.from_keras_model(keras.Model(images, model(images, training=False)))


def _with_float_softmax(converter: Any) -> bytes:
    """All in int8 but the softmax: in steps of 1/256, all but the best few of a thousand probabilities would be 0."""
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=["SOFTMAX"])
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    content: bytes = debugger.get_nondebug_quantized_model()
    return content


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """MLIR writes pages to the process's own standard output and error; errors come as exceptions."""
    with tempfile.TemporaryFile() as nowhere, warnings.catch_warnings():
        saved = [os.dup(stream) for stream in (1, 2)]
        warnings.simplefilter("ignore")
        try:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            for stream, before in zip((1, 2), saved, strict=True):
                os.dup2(before, stream)
                os.close(before)
