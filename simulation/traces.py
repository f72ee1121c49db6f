"""Arrival traces: built-in ones, drawn from a seed, and those of CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ArgumentError

DAY_SECONDS = 86_400.0
MAX_CSV_IMAGES = 20_000_000

Times = NDArray[np.float64]


class TraceError(ArgumentError):
    """The trace cannot be used."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A named pattern of arrivals.

    Attributes:
        draw: draws arrival times, in seconds from the start, ascending, float64 [images].
        max_size: maximum number of instances; None: the profile's.
        runs: how often a comparison repeats it with other draws; short traces vary more.
        burst_starts: when its equal bursts begin, seconds from the start; () for a trace without.
        bounded_by_work: too large for the exact search of the optimum, see `simulation.optimum`.
    """

    name: str
    title: str
    draw: Callable[[np.random.Generator], Times]
    max_size: int | None = None
    runs: int = 1
    bounded_by_work: bool = False
    burst_starts: tuple[float, ...] = ()


# The time between two of the equal bursts, enough for a fleet to return to 0; not a multiple of any scaler's interval.
BURST_STARTS = tuple(150.37 * number for number in range(10))


def _burst(rng: np.random.Generator) -> Times:
    return np.zeros(100)


def _bursts(rng: np.random.Generator) -> Times:
    """Equal bursts, of which each arrives over a random time of up to 4 s: a look at the queue sees a part."""
    parts = [start + rng.random(100) * rng.random() * 4 for start in BURST_STARTS]
    times: Times = np.sort(np.concatenate(parts))
    return times


def _by_hand(rng: np.random.Generator) -> Times:
    # A user looks at a result for some seconds, sometimes longer, before choosing the next photo.
    gaps = rng.lognormal(math.log(10.0), 0.6, 24)
    return np.concatenate(([0.0], np.cumsum(gaps)))


def _curve(images: int) -> Callable[[np.random.Generator], Times]:
    """A day whose rate is a sine: busiest at 16:00, a tenth of the mean at 4:00; 1.9 times the mean at most."""

    def draw(rng: np.random.Generator) -> Times:
        minutes = np.arange(1440)
        rate = 1 + 0.9 * np.sin((minutes / 60 - 10) / 24 * 2 * math.pi)
        counts = rng.poisson(images * rate / rate.sum())
        times: Times = np.repeat(minutes * 60.0, counts) + rng.random(int(counts.sum())) * 60
        times.sort()
        return times

    return draw


def _crowd(rng: np.random.Generator) -> Times:
    times: Times = np.sort(rng.random(10_000) * 60)
    return times


def _fading(rng: np.random.Generator) -> Times:
    """Most arrive within two minutes, the last after ten."""
    times: Times = np.sort(rng.gamma(2.0, 45.0, 10_000))
    return times


def _drip(rng: np.random.Generator) -> Times:
    times: Times = np.cumsum(rng.exponential(60.0, 120))
    return times


def _on_off(rng: np.random.Generator) -> Times:
    times: Times = np.sort(np.concatenate([rng.random(18_000) * 300 + 600 * part for part in range(6)]))
    return times


TRACES = {
    trace.name: trace
    for trace in (
        Trace("burst", "one burst of 100", _burst, runs=40, burst_starts=(0.0,)),
        Trace("bursts", "ten bursts of 100, each over up to 4 s", _bursts, runs=5, burst_starts=BURST_STARTS),
        Trace("by-hand", "25 uploads by hand", _by_hand, runs=40),
        Trace("curve", "a day of 2 million, as a curve", _curve(2_000_000)),
        Trace("crowd", "a flash crowd: 10,000 within a minute", _crowd, runs=5),
        Trace("fading", "a flash crowd of 10,000 that fades over ten minutes", _fading, runs=5),
        Trace("drip", "one image a minute for 2 hours", _drip, runs=5),
        Trace("on-off", "5 minutes on, 5 off, six times", _on_off, runs=2),
        Trace("internet", "a day of 10 million, up to 2,000 instances", _curve(10_000_000), 2000, bounded_by_work=True),
    )
}


def read_csv(path: Path) -> Trace:
    """Reads a trace from a CSV file with a header: ``seconds`` and, optionally, the number of ``images`` (default 1).

    Raises:
        TraceError: the file cannot be read or is invalid; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            times, counts = _rows(csv.DictReader(file), path.name)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path} cannot be read as a CSV file: {error}") from error
    if sum(counts) == 0:
        raise TraceError(f"{path.name} has no images")
    if sum(counts) > MAX_CSV_IMAGES:
        raise TraceError(f"{path.name} has more than {MAX_CSV_IMAGES:,} images")
    arrivals = np.sort(np.repeat(np.array(times), counts))
    arrivals -= arrivals[0]
    large = len(arrivals) > 3_000_000
    return Trace(path.stem, f"{len(arrivals):,} images of {path.name}", lambda rng: arrivals, bounded_by_work=large)


def _rows(reader: csv.DictReader[str], name: str) -> tuple[list[float], list[int]]:
    if "seconds" not in (reader.fieldnames or ()):
        raise TraceError(f"{name} needs a header line with a column 'seconds' and, optionally, a column 'images'")
    times, counts = [], []
    for row in reader:
        try:
            seconds, images = float(row["seconds"]), int(row.get("images") or 1)
        except (TypeError, ValueError):
            raise TraceError(f"{name}, line {reader.line_num}: 'seconds' and 'images' must be numbers") from None
        if not 0 <= seconds <= 366 * DAY_SECONDS or images < 0:
            raise TraceError(f"{name}, line {reader.line_num}: out of range (0 to 366 days, no negative images)")
        times.append(seconds)
        counts.append(images)
    return times, counts
