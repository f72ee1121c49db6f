"""The number formats of an exported model."""

from __future__ import annotations

from typing import Literal

# The names give the format of the weights, for "int16" that of the activations; DESCRIPTIONS has both.
Kind = Literal["int8", "int16", "dynamic", "float16", "float32"]

DESCRIPTIONS: dict[Kind, str] = {
    "int8": "weights and activations int8, softmax float32, float32 in and out",
    "int16": "weights int8, activations int16, float32 in and out",
    "dynamic": "weights int8, activations quantized as they come, float32 in and out",
    "float16": "weights float16, computed in float32",
    "float32": "float32 throughout",
}
