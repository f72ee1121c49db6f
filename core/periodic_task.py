"""Supervised periodic tasks, which continue after an exception in one round.

A bare thread ends with its first unexpected exception while its process runs on.  A `PeriodicTask` logs and counts the
exception and begins the next round in time; its `TaskHealth` says when a round last succeeded.  Within one round,
`ItemGuard` keeps one item that fails from holding up the others.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from core.errors import CloudError, ElasticError

# A task is stale when no round has succeeded for so many of its intervals, and for at least `LEAST_STALE_SECONDS`:
# one request that is retried because the cloud is slow takes longer than many intervals of a second.
STALE_INTERVALS = 5
LEAST_STALE_SECONDS = 60.0
# Errors are published: long ones are cut.
MAX_ERROR_CHARACTERS = 200
# After so many failures in a row the cloud itself is assumed to fail, and each further item would only wait for
# retries.
MAX_CLOUD_FAILURES_IN_A_ROW = 5

log = logging.getLogger(__name__)


class RoundError(ElasticError):
    """Some items of a round failed."""


class StopSignal(Protocol):
    """The methods of `threading.Event` that a task uses."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """The health of a periodic task.

    `seconds` is the pause between two rounds.  `started_at` and `last_success_at` (None before the first success) are
    in seconds since the epoch; `failures` of `rounds` have failed, and `last_error` says why the latest of these did.
    """

    name: str
    seconds: float
    started_at: float
    last_success_at: float | None = None
    rounds: int = 0
    failures: int = 0
    last_error: str = ""


def seconds_without_success(health: TaskHealth, now: float) -> float:
    """The time since the last success; since the start where there was none."""
    return now - (health.started_at if health.last_success_at is None else health.last_success_at)


def is_stale(health: TaskHealth, now: float, intervals: float = STALE_INTERVALS) -> bool:
    """Whether no round has succeeded for so many intervals, and for `LEAST_STALE_SECONDS` at least."""
    return seconds_without_success(health, now) > max(intervals * health.seconds, LEAST_STALE_SECONDS)


def describe_error(error: Exception) -> str:
    """Describe an error for publication: only this program's own errors show their messages."""
    text = str(error) if isinstance(error, ElasticError) else f"unexpected {type(error).__name__}"
    return text[:MAX_ERROR_CHARACTERS].encode(errors="replace").decode()


def _milliseconds(seconds: float) -> float:
    return round(seconds, 3)


class PeriodicTask:
    """Run `round` again and again until it is stopped; an exception ends one round, never the task.

    The errors of this program (`ElasticError`) are logged in one line, unexpected exceptions with their traceback.

    Args:
        name: names the task in the log, in its thread and in its health.
        seconds: pause between two rounds.
        round: the work; its return value is not used.
        at_once: run the first round at the start instead of after the first pause.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        round: Callable[[], object],
        *,
        at_once: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._seconds = seconds
        self._round = round
        self._at_once = at_once
        self._clock = clock
        self._health = TaskHealth(name, seconds, _milliseconds(clock()))

    @property
    def health(self) -> TaskHealth:
        """The task's health until now; safe to read from any thread."""
        return self._health

    def start(self, stop: StopSignal) -> threading.Thread:
        """Run the task in a daemon thread until `stop` is set; return the thread."""
        thread = threading.Thread(target=self.run, args=(stop,), name=self.name, daemon=True)
        thread.start()
        return thread

    def run(self, stop: StopSignal) -> None:
        """Run the task in this thread until `stop` is set."""
        if self._at_once and not stop.is_set():
            self.run_round()
        while not stop.wait(self._seconds):
            self.run_round()

    def run_round(self) -> bool:
        """Run one round now; return whether it succeeded."""
        try:
            self._round()
        except Exception as error:
            self._log(error)
            health = self._health
            self._health = dataclasses.replace(
                health, rounds=health.rounds + 1, failures=health.failures + 1, last_error=describe_error(error)
            )
            return False
        health = self._health
        self._health = dataclasses.replace(
            health, rounds=health.rounds + 1, last_success_at=_milliseconds(self._clock())
        )
        return True

    def _log(self, error: Exception) -> None:
        if isinstance(error, ElasticError):
            log.warning("%s: %s", self.name, error)
        else:
            log.exception("%s: unexpected exception; the next round follows in %g s", self.name, self._seconds)


class ItemGuard:
    """Isolate the items of a round: an exception in one is logged, and the next item follows.

    Example:
        guard = ItemGuard()
        for batch_id in batches:
            with guard.item(f"batch {batch_id}"):
                look_after(batch_id)
        guard.raise_failures()
    """

    def __init__(self) -> None:
        self._items = 0
        self._failures = 0
        self._first_failure = ""
        self._cloud_failures_in_a_row = 0

    @contextmanager
    def item(self, name: str) -> Iterator[None]:
        """Log an exception of the block and go on.

        Raises:
            CloudError: the cloud failed for `MAX_CLOUD_FAILURES_IN_A_ROW` items in a row.
        """
        self._items += 1
        try:
            yield
        except Exception as error:
            self._failures += 1
            self._first_failure = self._first_failure or f"{name}: {describe_error(error)}"
            if not isinstance(error, ElasticError):
                log.exception("%s: unexpected exception; going on with the next", name)
            elif not isinstance(error, RoundError):  # the failures behind a `RoundError` have been logged
                log.warning("%s: %s", name, error)
            self._cloud_failures_in_a_row += 1
            if not isinstance(error, CloudError):
                self._cloud_failures_in_a_row = 0
            elif self._cloud_failures_in_a_row >= MAX_CLOUD_FAILURES_IN_A_ROW:
                raise
        else:
            self._cloud_failures_in_a_row = 0

    def raise_failures(self) -> None:
        """Let the round fail if an item failed.

        Raises:
            RoundError: an item failed; names the first.
        """
        if self._failures:
            raise RoundError(f"{self._failures} of {self._items} failed; the first: {self._first_failure}")
