"""Waiting for the results of single images: one thread polls for all waiting requests of a process.

Results are found by listing each batch from the first awaited key on: one request to S3 for each batch, and one for all
named images, however many requests wait.  While new requests arrive it polls often, later less often.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from aws.buckets import ResultStore
from core.errors import CloudError, ElasticError
from core.image_layouts import result_key
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
    ended: threading.Event = field(default_factory=threading.Event)
    answered: bool = False
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
        # By the key of the result object: several may wait for images of one name.
        self._waiters: dict[str, list[_Waiter]] = {}
        self._count = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._look_now = threading.Event()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether no more requests may wait."""
        return self.waiting >= self._max_waiting

    def wait(self, key: str, timeout_seconds: float) -> bool:
        """Waits for the result of the image with this key; returns whether there is one.

        Raises:
            TooManyWaitingError: the limit on waiting requests is reached.
            WaitFailedError: an unexpected exception kept this process from looking for the result.
        """
        waiter, awaited = _Waiter(self._clock()), result_key(key)
        with self._lock:
            if self.full:
                raise TooManyWaitingError
            if self._closed:
                return False
            if self._thread is None:
                # Started before this request is among the waiting: one that cannot be started leaves no trace.
                thread = threading.Thread(target=self._poll, name="result-waiter", daemon=True)
                thread.start()  # it waits for the lock
                self._thread = thread
            self._waiters.setdefault(awaited, []).append(waiter)
            self._count += 1
        try:
            waiter.ended.wait(timeout_seconds)
        finally:
            with self._lock:
                self._count -= 1
                others = [one for one in self._waiters.pop(awaited, []) if one is not waiter]
                if others:
                    self._waiters[awaited] = others
        if waiter.failed:
            raise WaitFailedError
        return waiter.answered

    def look_now(self) -> None:
        """Looks for results without further delay: one has been stored."""
        self._look_now.set()

    def close(self) -> None:
        """Ends all waiting without results: the server is about to stop."""
        with self._lock:
            self._closed = True
            waiters = [waiter for waiting in self._waiters.values() for waiter in waiting]
        for waiter in waiters:
            waiter.ended.set()
        self._look_now.set()  # the thread ends when none waits any more

    def _poll(self) -> None:
        while True:
            with self._lock:
                if not self._waiters:
                    self._thread = None
                    return
                youngest = max(waiter.since for waiting in self._waiters.values() for waiter in waiting)
                outstanding = sorted(self._waiters)
            started = self._clock()
            try:
                self._poll_once(outstanding)
            except CloudError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("unexpected error while polling for results")
                self._end(outstanding, failed=True)
            took = self._clock() - started
            pause = max(MIN_INTERVAL_SECONDS, INTERVAL_PART * (self._clock() - youngest), took)
            # Not woken by requests that arrive meanwhile: each of them would cause a listing.
            self._look_now.wait(min(pause, MAX_INTERVAL_SECONDS))
            self._look_now.clear()

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
                self._end([key for key in outstanding if batch_of(key) == batch_id], failed=True)

    def _poll_batch(self, batch_id: str, first: str) -> None:
        # Sorts just before the first key.
        before, now = first[:-1], self._clock()
        found: Iterable[str]
        if batch_id:
            found = (stored.key for stored in self._results.list(f"{batch_id}/", start_after=before))
        else:
            found = self._results.list_named(before)
        for key in found:
            # An image's earlier result, which its upload deletes, may be in a listing that began before.
            self._end([key], waiting_since=now)

    def _end(self, keys: Iterable[str], *, waiting_since: float = math.inf, failed: bool = False) -> None:
        """End the waiting of requests: their results are there, or they would wait until their timeouts."""
        with self._lock:
            for key in keys:
                waiters = self._waiters.pop(key, [])
                for waiter in waiters:
                    if waiter.since <= waiting_since:
                        waiter.answered, waiter.failed = not failed, failed
                        waiter.ended.set()
                if later := [waiter for waiter in waiters if waiter.since > waiting_since]:
                    self._waiters[key] = later
