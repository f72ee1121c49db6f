"""What a worker tells of its answers: counts of labels and scores, and how a candidate would have answered.

The candidate works beside the answers, never before them: what has been stored is queued, a few at most, and a thread
of the lowest priority fetches the photo once more, decodes it as the candidate wants it and compares the best labels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import DecodeError, ElasticError
from core.jobs import ClassificationResult
from core.periodic_task import PeriodicTask
from core.prediction_counts import CONFIDENCE_BINS, AnswerCounts
from core.shadow import Shadow

log = logging.getLogger(__name__)

# What waits for the candidate; more is left out, so that a slow candidate holds up nothing and holds no memory.
MAX_WAITING = 16
_LOWEST_PRIORITY = 19
# How long one look for an answer to compare may take: the thread ends that late, too.
COMPARE_WAIT_SECONDS = 0.2

# A candidate: decodes a file as it wants it and names the best label.
Model = Callable[[bytes], str]


class Tally:
    """Counts answers; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels: Counter[str] = Counter()
        self._confidence = [0] * CONFIDENCE_BINS

    def __call__(self, result: ClassificationResult) -> None:
        """Counts one answer; failures are none."""
        if result.predictions:
            best = result.predictions[0]
            with self._lock:
                self._labels[best.label] += 1
                self._confidence[min(int(best.score * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)] += 1

    def counts(self) -> AnswerCounts:
        """All that was counted."""
        with self._lock:
            return AnswerCounts(dict(self._labels), tuple(self._confidence))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a candidate's best label was the answer's."""

    model: str = ""
    compared: int = 0
    agreed: int = 0


class ShadowRunner:
    """Classifies a share of the photos with a candidate, too.

    Args:
        read: the body of the shadow object, or None where there is none.
        load: a candidate by its full name; may raise `ElasticError`.
        fetch: a photo's bytes by its key; may raise `ElasticError`.
        own_model: what answers; a candidate that is the same has nothing to do.
    """

    def __init__(
        self,
        read: Callable[[], bytes | None],
        load: Callable[[str], Model],
        fetch: Callable[[str], bytes],
        own_model: str,
    ) -> None:
        self._read = read
        self._load = load
        self._fetch = fetch
        self._own_model = own_model
        self._wanted = Shadow()
        self._candidate: Model | None = None
        self._agreement = Agreement()
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(MAX_WAITING)
        self._told = ""
        self._next_look_at = float("-inf")
        self._has_low_priority = False

    @property
    def agreement(self) -> Agreement:
        """What has been compared since the candidate was set."""
        return self._agreement

    def __call__(self, result: ClassificationResult) -> None:
        """Offers a stored answer; returns at once."""
        if self._candidate is not None and result.predictions and self._wanted.sees(result.key):
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait((result.key, result.predictions[0].label))

    def start(self, interval_seconds: float, stop: threading.Event) -> None:
        """Compares in the background until `stop` is set, and looks for another candidate every `interval_seconds`."""

        def look_and_compare() -> None:
            self._lower_priority()
            if time.monotonic() >= self._next_look_at:
                self._next_look_at = time.monotonic() + interval_seconds
                self.look()
            self.compare_next(timeout_seconds=COMPARE_WAIT_SECONDS)

        # No pause: each round waits for an answer to compare.
        PeriodicTask("shadow", 0.0, look_and_compare, at_once=True).start(stop)

    def _lower_priority(self) -> None:
        """Give the candidate what the answers leave over: on Linux each thread has a priority of its own."""
        if not self._has_low_priority:
            self._has_low_priority = True
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)

    def look(self) -> None:
        """Takes in which candidate is wanted; where that cannot be told, everything stays."""
        try:
            body = self._read()
            wanted = Shadow() if body is None else Shadow.decode(body)
            if wanted.model == self._own_model:
                wanted = Shadow()
            if wanted.model != self._wanted.model:
                self._candidate = None
                self._agreement = Agreement(wanted.model)
                self._wanted = wanted  # also where it cannot be loaded: it is not tried again and again
                self._candidate = self._load(wanted.model) if wanted.model else None
                log.info("shadow: %s", wanted.model or "off")
            self._wanted = wanted
            self._told = ""
        except (ElasticError, DecodeError) as error:
            if str(error) != self._told:  # without the right to list, S3 says 403 where there is none
                log.info("no candidate: %s", error)
            self._told = str(error)

    def compare_next(self, timeout_seconds: float) -> None:
        """Waits for an offered answer and compares it; whatever goes wrong is nobody else's matter."""
        try:
            key, label = self._waiting.get(timeout=timeout_seconds)
        except queue.Empty:
            return
        candidate, before = self._candidate, self._agreement
        if candidate is None:
            return
        try:
            answer = candidate(self._fetch(key))
        except Exception as error:  # a photo that is gone, or a candidate that fails on it
            log.info("shadow: %s: %s", key, error)
            return
        self._agreement = Agreement(before.model, before.compared + 1, before.agreed + (answer == label))
