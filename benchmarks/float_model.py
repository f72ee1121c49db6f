"""Run an int8 ResNet-50 in float32: with dequantized weights and activations that are not rounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray


class FloatModel:
    """Runs the operations of a ``.tflite`` file with TensorFlow's float kernels.

    Supports the operations of a ResNet-50.  Two attributes are not available from the interpreter and follow from the
    architecture: a convolution whose output is added to another has no ReLU, all others and the additions have one;
    and strides result from the sizes of input and output.

    Raises:
        ValueError: the model has an operation that a ResNet-50 does not have.
    """

    def __init__(self, path: Path) -> None:
        # Without the delegate, which would hide the operations in a single one of its own.
        self._model = Interpreter(
            model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        self._model.allocate_tensors()
        self._tensors = {tensor["index"]: tensor for tensor in self._model.get_tensor_details()}
        self._operations = self._model._get_ops_details()  # there is no public method for it
        self._into_additions = {int(n) for op in self._operations if op["op_name"] == "ADD" for n in op["inputs"]}
        self._constants = {
            int(n): self._dequantized(int(n))
            for op in self._operations
            if op["op_name"] in ("CONV_2D", "FULLY_CONNECTED")
            for n in op["inputs"][1:]
        }
        unknown = {op["op_name"] for op in self._operations} - self._kernels().keys()
        if unknown:
            raise ValueError(f"not a ResNet-50: it has {', '.join(sorted(unknown))}")
        self._run = tf.function(self._walk)

    def probabilities(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probabilities for preprocessed images, shape (images, labels).

        Args:
            batch: shape (images, height, width, 3), as `app_tier.classifier.preprocess` fills it.
        """
        answer: NDArray[np.float32] = self._run(tf.constant(batch)).numpy()
        return answer

    def _walk(self, batch: Any) -> Any:
        kernels = self._kernels()
        values: dict[int, Any] = {int(self._model.get_input_details()[0]["index"]): batch}
        for op in self._operations:
            inputs, output = [int(n) for n in op["inputs"]], int(op["outputs"][0])
            values[output] = kernels[op["op_name"]](values, inputs, output)
        return values[int(self._model.get_output_details()[0]["index"])]

    def _kernels(self) -> dict[str, Callable[[dict[int, Any], list[int], int], Any]]:
        return {
            "QUANTIZE": lambda values, inputs, _output: values[inputs[0]],
            "DEQUANTIZE": lambda values, inputs, _output: values[inputs[0]],
            "PAD": lambda values, inputs, _output: tf.pad(values[inputs[0]], self._model.get_tensor(inputs[1])),
            "CONV_2D": self._convolve,
            "MAX_POOL_2D": lambda values, inputs, _output: tf.nn.max_pool2d(values[inputs[0]], 3, 2, "VALID"),
            "ADD": lambda values, inputs, _output: tf.nn.relu(values[inputs[0]] + values[inputs[1]]),
            "MEAN": lambda values, inputs, _output: tf.reduce_mean(values[inputs[0]], axis=(1, 2)),
            "FULLY_CONNECTED": self._connect,
            "SOFTMAX": lambda values, inputs, _output: tf.nn.softmax(values[inputs[0]]),
        }

    def _convolve(self, values: dict[int, Any], inputs: list[int], output: int) -> Any:
        source, weights, bias = inputs
        stride = round(self._tensors[source]["shape"][1] / self._tensors[output]["shape"][1])
        # Before the first convolution, 7 × 7, there is a separate padding operation.
        padding = "VALID" if self._constants[weights].shape[1] == 7 else "SAME"
        kernel = self._constants[weights].transpose(1, 2, 3, 0)  # TensorFlow's layout has the output channels last
        answer = tf.nn.conv2d(values[source], kernel, stride, padding) + self._constants[bias]
        return answer if output in self._into_additions else tf.nn.relu(answer)

    def _connect(self, values: dict[int, Any], inputs: list[int], _output: int) -> Any:
        source, weights, bias = inputs
        return tf.matmul(values[source], self._constants[weights].T) + self._constants[bias]

    def _dequantized(self, index: int) -> NDArray[np.float32]:
        """``(quantized - zero point) * scale``, with a scale for each output channel, which comes first."""
        parameters = self._tensors[index]["quantization_parameters"]
        quantized = self._model.get_tensor(index)
        shape = [-1] + [1] * (quantized.ndim - 1)
        shifted = quantized.astype(np.float64) - parameters["zero_points"].reshape(shape)
        weights: NDArray[np.float32] = (shifted * parameters["scales"].reshape(shape)).astype(np.float32)
        return weights
