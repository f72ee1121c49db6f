"""Scale the samples of an image to eight bits.

| samples | black … white |
| --- | --- |
| unsigned, 8 bits | 0 … 255 |
| unsigned, 16 bits | 0 … 255, 1023, 4095, 16,383 or 65,535: the smallest that holds the image's largest sample |
| floating point, all within 0 … 1 | 0 … 1 |
| other: signed, 32 and 64 bits, floating point | the image's smallest … largest sample; NaN is black |

Cameras and microscopes store ten, twelve or fourteen bits in sixteen, and files seldom say so.  Where the range is that
of the image and all samples are equal, the image is mid-gray.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WHITES = (255, 1023, 4095, 16_383, 65_535)
_SAMPLES_AT_A_TIME = 1 << 17
_MID_GRAY = 128


def to_eight_bits(samples: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale samples, an array of any shape whose first axis is rows, by the range that the module's table gives."""
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * np.uint8(255)
    if samples.dtype == np.uint8:
        return samples.view(np.uint8)
    return scale(samples, *sample_range(samples))


def sample_range(samples: NDArray[np.generic]) -> tuple[float, float]:
    """The samples that become black and white."""
    finite = samples[np.isfinite(samples)] if samples.dtype.kind == "f" and not np.isfinite(samples).all() else samples
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        return 0.0, float(next(white for white in _WHITES if high <= white))
    if samples.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    return low, high


def scale(samples: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Scale samples so that `low` becomes 0 and `high` 255; what lies outside is clipped."""
    scaled = np.full(samples.shape, _MID_GRAY, np.uint8)
    if high > low:
        # In steps, since the intermediate values take eight bytes each; a wide image has few rows in a step.
        step = max(1, _SAMPLES_AT_A_TIME * len(samples) // samples.size)
        for row in range(0, len(samples), step):
            rows = samples[row : row + step].astype(np.float64)
            rows = np.nan_to_num((rows - low) * (255.0 / (high - low)), nan=0.0)
            scaled[row : row + step] = np.rint(rows.clip(0.0, 255.0))
    return scaled
