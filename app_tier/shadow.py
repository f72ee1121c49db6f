"""Shadow mode: compare a candidate model with the results that the worker has stored.

The candidate never delays a result: stored results are queued, `MAX_WAITING` at most, and a thread of the lowest
priority fetches each image once more, preprocesses it as the candidate requires and compares the best labels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import DecodeError, ElasticError
from core.jobs import ClassificationResult
from core.periodic_task import PeriodicTask
from core.shadow import Shadow

log = logging.getLogger(__name__)

# The most results that wait for the candidate; more are left out, so that a slow candidate does not use up memory.
MAX_WAITING = 16
_LOWEST_PRIORITY = 19
# How long one wait for a result to compare may take; the thread ends with at most this delay.
COMPARE_WAIT_SECONDS = 0.2

# A candidate: from an image file's bytes to the best label.
Model = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often a candidate's best label equals the result's."""

    model: str = ""
    compared: int = 0
    agreed: int = 0


class ShadowRunner:
    """Classify a share of the images with a candidate as well.

    Args:
        read: returns the body of the shadow object, or None where there is none.
        load: returns a candidate by its full name; may raise `ElasticError`.
        fetch: returns an image's bytes by its key; may raise `ElasticError`.
        own_model: full name of the model that serves; the same model as candidate turns shadow mode off.
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
        self._config = Shadow()
        self._candidate: Model | None = None
        self._agreement = Agreement()
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue(MAX_WAITING)
        self._logged_error = ""
        self._next_refresh_at = float("-inf")
        self._has_low_priority = False

    @property
    def agreement(self) -> Agreement:
        """Comparisons since the candidate was set."""
        return self._agreement

    def __call__(self, result: ClassificationResult) -> None:
        """Queue a stored result for comparison; return at once."""
        if self._candidate is not None and result.predictions and self._config.sees(result.key):
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait((result.key, result.predictions[0].label))

    def start(self, interval_seconds: float, stop: threading.Event) -> None:
        """Compare in the background until `stop` is set; read the shadow object every `interval_seconds`."""

        def refresh_and_compare() -> None:
            self._lower_priority()
            if time.monotonic() >= self._next_refresh_at:
                self._next_refresh_at = time.monotonic() + interval_seconds
                self.refresh()
            self.compare_next(timeout_seconds=COMPARE_WAIT_SECONDS)

        # No pause: each round waits for a result to compare.
        PeriodicTask("shadow", 0.0, refresh_and_compare, at_once=True).start(stop)

    def _lower_priority(self) -> None:
        """Leave the processor to the serving threads: on Linux each thread has its own priority."""
        if not self._has_low_priority:
            self._has_low_priority = True
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)

    def refresh(self) -> None:
        """Read the shadow object and load its candidate; where reading fails, nothing changes."""
        try:
            body = self._read()
            config = Shadow() if body is None else Shadow.decode(body)
            if config.model == self._own_model:
                config = Shadow()
            if config.model != self._config.model:
                self._candidate = None
                self._agreement = Agreement(config.model)
                self._config = config  # also if it cannot be loaded, so that loading is not repeated
                self._candidate = self._load(config.model) if config.model else None
                log.info("shadow: %s", config.model or "off")
            self._config = config
            self._logged_error = ""
        except (ElasticError, DecodeError) as error:
            if str(error) != self._logged_error:  # without the right to list, S3 responds with 403 to a missing key
                log.info("no candidate: %s", error)
            self._logged_error = str(error)

    def compare_next(self, timeout_seconds: float) -> None:
        """Wait for a queued result and compare it; errors are logged and affect nothing else."""
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
