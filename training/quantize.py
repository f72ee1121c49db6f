"""Convert a Keras model to a LiteRT model in one of several number formats."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.errors import ExportError
from training.export_formats import Kind

_INT8_ACTIVATIONS = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
_INT16_ACTIVATIONS = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8


def convert(model: Any, kind: Kind, calibration: NDArray[np.float32]) -> bytes:
    """Converts a model to the content of a ``.tflite`` file, with float32 input and output and a dynamic batch size.

    Args:
        model: a Keras model with one image input and one output.
        calibration: preprocessed photos, shape (photos, height, width, 3), which give the input's size and, for the
            kinds ``int8`` and ``int16``, the ranges of the activations.

    Raises:
        ExportError: the model cannot be converted.
    """
    if kind not in get_args(Kind):
        raise ExportError(f"{kind!r} is not one of {', '.join(get_args(Kind))}")
    with tempfile.TemporaryDirectory(prefix="saved-model-") as folder:
        converter = _converter(model, calibration.shape[1:], folder)
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
        except Exception as error:  # MLIR raises many kinds of exceptions
            sentence = str(error).strip().splitlines()[0]
            raise ExportError(f"the model cannot be converted to {kind}: {sentence}") from error
    return content


def _converter(model: Any, image_shape: tuple[int, ...], folder: str) -> Any:
    """A converter, which reads the SavedModel that this writes into `folder`.

    Of one function only, with a fixed input size.  What `from_keras_model` writes has the model's own functions, too,
    each traced anew, which takes most of the conversion's time.
    """
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.classify = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec([None, *image_shape], tf.float32, "images")],
    )
    with _silence():
        tf.saved_model.save(module, folder, signatures=module.classify.get_concrete_function())
        return tf.lite.TFLiteConverter.from_saved_model(folder)


def _with_float_softmax(converter: Any) -> bytes:
    """Converts all but the softmax to int8: in steps of 1/256, most of a thousand probabilities would be 0."""
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=["SOFTMAX"])
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    content: bytes = debugger.get_nondebug_quantized_model()
    return content


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discards standard output and error, to which MLIR logs at length; errors come as exceptions."""
    with tempfile.TemporaryFile() as discarded, warnings.catch_warnings():
        saved = [os.dup(stream) for stream in (1, 2)]
        warnings.simplefilter("ignore")
        try:
            for stream in (1, 2):
                os.dup2(discarded.fileno(), stream)
            yield
        finally:
            for stream, before in zip((1, 2), saved, strict=True):
                os.dup2(before, stream)
                os.close(before)
