"""Model a queue of images served by a pool of equal instances, with array arithmetic instead of an event per image.

The pool is one server as fast as all its instances together, first come, first served.  For the waits in a queue that
is seldom empty this is exact; each image's wait is increased by the time that one instance needs longer than the pool.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Pool:
    """The images of a trace, waiting, in service or answered.

    Args:
        arrivals: arrival times, seconds, ascending [images].
        service_seconds: service times on one instance [images].

    Attributes:
        arrivals: as given.
        waits: seconds from arrival to result, NaN while unanswered, float32 [images].
        answered: the number of images answered.
        busy_seconds: instance-seconds of work.
        lost: the number of images whose instance was killed, and that are still invisible.
        worked_at: when an image was in service last, seconds; -infinity before the first.
    """

    def __init__(self, arrivals: Floats, service_seconds: Floats) -> None:
        self.arrivals = arrivals
        self._service = service_seconds
        self._work = np.concatenate(([0.0], np.cumsum(service_seconds)))
        self.waits = np.full(len(arrivals), np.nan, np.float32)
        self._head = 0
        self._progress = 0.0  # of the head, seconds of one instance
        self._returned: deque[int] = deque()
        self._now = 0.0
        self.answered = 0
        self.busy_seconds = 0.0
        self.worked_at = -math.inf
        self.lost = 0

    @property
    def total(self) -> int:
        """The number of images in the trace."""
        return len(self.arrivals)

    def arrived(self, now: float) -> int:
        """The number of images that have arrived by `now`."""
        return int(self.arrivals.searchsorted(now, "right"))

    def backlog(self) -> int:
        """The number of images waiting or in service, as of the last `advance`."""
        return self.arrived(self._now) - self._head + len(self._returned)

    def advance(self, until: float, instances: int) -> None:
        """Serves images with `instances` instances from the time of the last call until `until`."""
        free, self._now = self._now, until
        if instances == 0 or until == free:
            return
        free = self._serve_returned(free, until, instances)
        first, progress = self._head, self._progress
        reach = self._work.searchsorted(self._work[first] + progress + instances * (until - free), "right")
        last = min(self.arrived(until), int(reach))
        if last > first:
            spent = (self._work[first : last + 1] - self._work[first]) / instances
            spent[1:] -= progress / instances
            arrivals = self.arrivals[first:last]
            completed = spent[1:] + np.maximum(free, np.maximum.accumulate(arrivals - spent[:-1]))
            count = int(completed.searchsorted(until, "right"))
            if count:
                self._answer(slice(first, first + count), completed[:count], instances)
                self.busy_seconds += float(self._work[first + count] - self._work[first]) - progress
                self._head, self._progress, free = first + count, 0.0, float(completed[count - 1])
        self._work_on_head(free, until, instances)

    def lose(self, count: int) -> list[int]:
        """Removes the oldest `count` images, whose instances were killed; their service starts again later."""
        taken = [self._returned.popleft() for _ in range(min(count, len(self._returned)))]
        more = min(count - len(taken), self.arrived(self._now) - self._head)
        taken += range(self._head, self._head + more)
        if more:
            self._head, self._progress = self._head + more, 0.0
        self.lost += len(taken)
        return taken

    def give_back(self, images: list[int]) -> None:
        """Makes lost images visible again."""
        self.lost -= len(images)
        self._returned.extend(images)

    def _serve_returned(self, free: float, until: float, instances: int) -> float:
        while self._returned:
            image = self._returned[0]
            done = free + float(self._service[image]) / instances
            if done > until:
                return until  # its service starts again in the next call: such images are few
            self._returned.popleft()
            self._answer(slice(image, image + 1), np.array([done]), instances)
            self.busy_seconds += float(self._service[image])
            free = done
        return free

    def _answer(self, images: slice, completed: Floats, instances: int) -> None:
        alone = self._service[images] * (1 - 1 / instances)
        self.waits[images] = completed - self.arrivals[images] + alone
        self.answered += len(completed)
        self.worked_at = float(completed[-1])

    def _work_on_head(self, free: float, until: float, instances: int) -> None:
        if self._head < self.total and (start := max(free, float(self.arrivals[self._head]))) < until:
            worked = (until - start) * instances
            left = float(self._service[self._head]) - self._progress
            worked = min(worked, left * (1 - 1e-12))
            self._progress += worked
            self.busy_seconds += worked
            self.worked_at = until
