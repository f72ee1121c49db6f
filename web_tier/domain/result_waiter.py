"""Waiting for the results of single images: one thread polls for all waiting requests of a process.

Results are found by listing each batch from the first awaited key on: one request to S3 for each batch, however many
requests wait.  While new requests arrive it polls often, later less often.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aws.buckets import ResultStore
from core.errors import CloudError, ElasticError
from core.jobs import batch_of

MIN_INTERVAL_SECONDS = 0.1
MAX_INTERVAL_SECONDS = 1.0
# The pause is this share of the time that the newest request has waited, which bounds the delay of a result.
INTERVAL_PART = 0.1

log = logging.getLogger(__name__)


class TooManyWaitingError(ElasticError):
    """too many requests wait for an answer already"""


class WaitFailedError(ElasticError):
    """the answer could not be looked for; the image is classified all the same"""


@dataclass(slots=True)
class _Waiter:
    since: float
    found: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


class ResultWaiter:
    """Notifies waiting requests when their results are stored; safe to share between threads.

    Args:
        max_waiting: limit on requests that wait at a time.
        clock: monotonic seconds.
    """

    def __init__(self, results: ResultStore, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._results = results
        self._max_waiting = max_waiting
        self._clock = clock
        self._lock = threading.Lock()
        self._waiters: dict[str, _Waiter] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiters)

    @property
    def full(self) -> bool:
        """Whether no more requests may wait."""
        return self.waiting >= self._max_waiting

    def wait(self, key: str, timeout_seconds: float) -> bool:
        """Waits for a result under `key`, which this request alone may await; returns whether there is one.

        Raises:
            TooManyWaitingError: the limit on waiting requests is reached.
            WaitFailedError: an unexpected exception kept this process from looking for the result.
        """
        waiter = _Waiter(self._clock())
        with self._lock:
            if len(self._waiters) >= self._max_waiting:
                raise TooManyWaitingError
            if self._closed:
                return False
            if self._thread is None:
                # Started before this request is among the waiting: one that cannot be started leaves no trace.
                thread = threading.Thread(target=self._poll, name="result-waiter", daemon=True)
                thread.start()  # it waits for the lock
                self._thread = thread
            self._waiters[key] = waiter
        try:
            waiter.found.wait(timeout_seconds)
        finally:
            with self._lock:
                found = self._waiters.pop(key, None) is None
        if waiter.failed:
            raise WaitFailedError
        return found

    def close(self) -> None:
        """Ends all waiting without results: the server is about to stop."""
        with self._lock:
            self._closed = True
            waiters = list(self._waiters.values())
        for waiter in waiters:
            waiter.found.set()

    def _poll(self) -> None:
        while True:
            with self._lock:
                if not self._waiters:
                    self._thread = None
                    return
                youngest = max(waiter.since for waiter in self._waiters.values())
                outstanding = sorted(self._waiters)
            started = self._clock()
            try:
                self._poll_once(outstanding)
            except CloudError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("unexpected error while polling for results")
                self._fail(outstanding)
            took = self._clock() - started
            pause = max(MIN_INTERVAL_SECONDS, INTERVAL_PART * (self._clock() - youngest), took)
            # Not woken by requests that arrive meanwhile: each of them would cause a listing.
            time.sleep(min(pause, MAX_INTERVAL_SECONDS))

    def _poll_once(self, outstanding: list[str]) -> None:
        firsts: dict[str, str] = {}
        for key in outstanding:
            firsts.setdefault(batch_of(key), key)
        for batch_id, first in firsts.items():
            try:
                self._poll_batch(batch_id, first)
            except CloudError:
                raise
            except Exception:
                log.exception("unexpected error while polling for results of batch %s", batch_id)
                self._fail([key for key in outstanding if batch_of(key) == batch_id])

    def _poll_batch(self, batch_id: str, first: str) -> None:
        # Sorts just before the first key.
        before = first[:-1]
        for stored in self._results.list(f"{batch_id}/", start_after=before):
            with self._lock:
                waiter = self._waiters.pop(stored.key, None)
            if waiter is not None:
                waiter.found.set()

    def _fail(self, keys: list[str]) -> None:
        """End the waiting of requests at once: otherwise they would wait until their timeouts."""
        with self._lock:
            waiters = [self._waiters.pop(key) for key in keys if key in self._waiters]
            for waiter in waiters:
                waiter.failed = True
        for waiter in waiters:
            waiter.found.set()
