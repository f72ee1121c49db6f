"""Choose the number format of the computation: the fastest on this machine that does not reduce accuracy."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import tensorflow as tf

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# NVIDIA's compute capabilities from which tensor cores support these formats: Ampere and Volta.
_BFLOAT16_CAPABILITY, _FLOAT16_CAPABILITY = (8, 0), (7, 0)
_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
# One convolution of a ResNet-50, batch × side × side × channels, and the number of trials.
_TRIAL_SHAPE = (16, 28, 28, 128)
_TRIALS = 5


def choose(precision: str) -> str:
    """Resolves `precision`, which may be ``auto``, to ``float32``, ``bfloat16`` or ``float16``.

    For a GPU by its generation.  A CPU with instructions for bfloat16 is measured, since they need not be faster: on a
    Xeon without AMX, training with them took half as long again.
    """
    if precision != "auto":
        return precision
    if gpus := tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        if capability >= _BFLOAT16_CAPABILITY:
            return "bfloat16"
        return "float16" if capability >= _FLOAT16_CAPABILITY else "float32"
    if not any(flag in _cpu_flags() for flag in _BFLOAT16_FLAGS):
        return "float32"
    return "bfloat16" if _trial_seconds("bfloat16") < _trial_seconds("float32") else "float32"


def use(precision: str) -> None:
    """Sets the precision of all models that are built from now on; weights stay float32."""
    keras.mixed_precision.set_global_policy(POLICIES[precision])


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())


def _trial_seconds(dtype: str) -> float:
    """The shortest time of some trials of a convolution with its gradients."""
    channels = _TRIAL_SHAPE[-1]
    images = tf.cast(tf.random.stateless_normal(_TRIAL_SHAPE, (0, 0)), dtype)
    kernel = tf.cast(tf.random.stateless_normal((3, 3, channels, channels), (0, 1)), dtype)

    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            total = tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(total, [images, kernel])]

    step = tf.function(gradients)
    step()
    seconds = []
    for _ in range(_TRIALS):
        started = time.perf_counter()
        [float(value) for value in step()]
        seconds.append(time.perf_counter() - started)
    return min(seconds)
