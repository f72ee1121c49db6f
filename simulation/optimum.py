"""Compute the clairvoyant optimum: the least cost of any scaler with the same waits that knows all arrivals.

It may launch ahead of arrivals, pays `boot_seconds` for each launch and then for every second until termination, and
must answer all images within the maximum wait, and 95 % of them within the 95th percentile.  It decides about
instances only: images are served in the order of their arrival, as for every scaler.  It has no lag, no failures and
no variance.

The search is over conditions that every such schedule fulfils, so that what it finds is a lower bound of its cost:

* Time goes in ticks.  Any schedule, each of its instances' lives stretched to whole ticks, costs at most two ticks
  more for each launch; so boots are charged two ticks less.
* With W and M the 95th percentile and the maximum of the wait, A(t) the images arrived and q(t) those not yet answered:
  ``q(t) <= A(t) - A(t - M)``, as nothing older than M may be left.
* As images are served in order, of those whose W ended in the tick before t, ``min(their number, q(t) - A(t) +
  A(t - W))`` are late, where this is positive.  That at most 5 % may be is priced (Lagrangian relaxation): for every
  price >= 0 the cheapest schedule with the price paid for each late image, less the price of what is allowed, is a
  lower bound; the highest found is taken.
* Arrivals and deadlines are rounded to units of work in the schedule's favour.

The rest is dynamic programming over (instances, images left), in which launching costs and terminating does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LATE_SHARE = 0.05
# Images left are counted in units of at least half an image; there are at most about `_MOST_UNITS` units.
_FINEST_UNIT = 0.5
_MOST_UNITS = 600
_MAX_TICKS = 30_000
_PRICES_TRIED = 6


@dataclass(frozen=True, slots=True)
class Problem:
    """The arrivals, ascending [images], and the limits on the waits; all times in seconds."""

    arrivals: NDArray[np.float64]
    service_seconds: float
    boot_seconds: float
    p95_wait_seconds: float
    max_wait_seconds: float
    max_size: int


def optimum(problem: Problem) -> float:
    """A lower bound of the instance-seconds of every schedule within the limits of `problem`."""
    grid = _Grid(problem)
    best = max(work_bound(problem), grid.cheapest(0.0))
    # The bound is concave in the price, so it has one peak: golden section, on a logarithmic scale.
    low, high = math.log(1e-3 * problem.service_seconds), math.log(4 * (problem.boot_seconds + problem.service_seconds))
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = grid.cheapest(math.exp(left)), grid.cheapest(math.exp(right))
    for _ in range(_PRICES_TRIED - 2):
        best = max(best, at_left, at_right)
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = grid.cheapest(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = grid.cheapest(math.exp(right))
    return max(best, at_left, at_right)


def work_bound(problem: Problem) -> float:
    """A weaker bound, without a search: all the work, and a boot for each instance that the busiest stretch needs.

    In any stretch of length L all that arrives, but the late share of all images, must be answered within L + W.
    """
    images = len(problem.arrivals)
    work = images * problem.service_seconds
    late = math.floor(LATE_SHARE * images)
    needed = 1
    first, last = float(problem.arrivals[0]), float(problem.arrivals[-1])
    for stretch in np.geomspace(1.0, max(last - first, 1.0), 40):
        starts = np.arange(first, last + stretch, stretch / 4)
        counts = np.searchsorted(problem.arrivals, starts + stretch, "right") - np.searchsorted(
            problem.arrivals, starts, "left"
        )
        for allowed, wait in ((late, problem.p95_wait_seconds), (0, problem.max_wait_seconds)):
            pressing = (int(counts.max()) - allowed) * problem.service_seconds
            needed = max(needed, math.ceil(pressing / (stretch + wait) - 1e-9))
    return work + needed * problem.boot_seconds


class _Grid:
    """A problem in ticks and units of work."""

    def __init__(self, problem: Problem) -> None:
        arrivals, most = problem.arrivals, problem.max_wait_seconds
        end = float(arrivals[-1]) + most
        self.tick = max(end / _MAX_TICKS, max(most, problem.service_seconds) / 60)
        times = np.arange(1, math.ceil(end / self.tick) + 1) * self.tick
        count = np.searchsorted(arrivals, times, "right")
        due = np.searchsorted(arrivals, times - problem.p95_wait_seconds, "right")
        not_due = count - np.searchsorted(arrivals, times - most, "right")
        # An instance does a whole number of units in a tick.
        self._units_per_tick = math.ceil(
            self.tick / problem.service_seconds / max(_FINEST_UNIT, float(not_due.max()) / _MOST_UNITS)
        )
        unit = self.tick / problem.service_seconds / self._units_per_tick  # images
        # Rounded so that every bound becomes looser.
        cumulative = np.floor(count / unit + 1e-9).astype(np.int64)
        self._arriving = np.diff(cumulative, prepend=0)
        self._allowed = np.ceil(not_due / unit - 1e-9).astype(np.int64)
        self._timely = np.ceil((count - due) / unit - 1e-9).astype(np.int64)
        self._due = np.diff(due, prepend=0) / unit
        self._states = int(self._allowed.max()) + 1
        peak = int((self._arriving + np.concatenate(([0], self._allowed[:-1]))).max())
        # More instances than can empty the queue in one tick are never useful.
        self._sizes = min(problem.max_size, math.ceil(peak / self._units_per_tick)) + 1
        self._launch_cost = max(0.0, problem.boot_seconds - 2 * self.tick)
        self._unit = unit
        self._may_be_late = math.floor(LATE_SHARE * len(arrivals))

    def cheapest(self, price: float) -> float:
        """The least cost with `price` instance-seconds for each late image, less the price of the allowed ones."""
        weight = price * self._unit
        sizes = np.arange(self._sizes, dtype=np.float64)[:, None]
        launch, running = self._launch_cost * sizes, self.tick * sizes
        left = np.arange(self._states)
        costs = np.full((self._sizes, self._states), np.inf)
        costs[0, 0] = 0.0
        steps = np.arange(self._sizes) * self._units_per_tick
        for arriving, allowed, timely, due in zip(self._arriving, self._allowed, self._timely, self._due, strict=True):
            fewer = np.minimum.accumulate(costs[::-1], axis=0)[::-1]
            more = np.minimum.accumulate(costs - launch, axis=0) + launch
            costs = self._work(np.minimum(fewer, more), int(arriving) - steps)
            costs += running
            if weight and due:
                costs[:, timely:] += weight * np.minimum(left[timely:] - timely, due)
            costs[:, allowed + 1 :] = np.inf
        return float(costs[:, 0].min()) - price * self._may_be_late

    def _work(self, costs: NDArray[np.float64], shifts: NDArray[np.int64]) -> NDArray[np.float64]:
        worked = np.full_like(costs, np.inf)
        for size, shift in enumerate(shifts.tolist()):
            if shift >= 0:
                worked[size, shift:] = costs[size, : self._states - shift]
            else:
                worked[size, 0] = costs[size, : 1 - shift].min()
                kept = self._states + shift - 1
                if kept > 0:
                    worked[size, 1 : kept + 1] = costs[size, 1 - shift : 1 - shift + kept]
        return worked
