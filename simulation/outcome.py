"""The measurements of a simulated run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Outcome:
    """The measurements of a run.

    `waits` are seconds from arrival to result [images], `drain_seconds` is from the last arrival to the last result.
    `empty_launches` counts the instances launched while no image was waiting or in service, `burst_peaks` has the most
    instances in each of the trace's equal bursts, until the next one.
    `timeline` is (seconds, backlog, instances) at each of the scaler's decisions.
    """

    waits: NDArray[np.float32]
    instance_seconds: float
    drain_seconds: float
    busy_killed: int
    busy_drained: int
    thrash: int
    launches: int
    peak: int
    empty_launches: int = 0
    burst_peaks: list[int] = field(default_factory=list)
    timeline: list[tuple[float, int, int]] = field(default_factory=list)
