"""Readiness of a web process: S3 and SQS answer, and it is not about to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from aws.buckets import ImageStore, ResultStore
from aws.queue import JobQueue
from core.errors import CloudError
from web_tier.ttl_cache import TTLCache

SECONDS = 1.0


class Readiness:
    """Checks S3 and SQS at most once a second; safe to share between threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        images: ImageStore,
        results: ResultStore,
        queue: JobQueue,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = (
            ("the bucket of images", images.check),
            ("the bucket of results", results.check),
            ("the queue", queue.backlog),
        )
        self._problems = TTLCache(self._check, SECONDS, single_flight=True, clock=clock)
        self._closing = False

    def problems(self) -> list[str]:
        """The problems, a sentence each; empty where the process is ready."""
        return ["the server is about to stop"] if self._closing else self._problems.get()

    def close(self) -> None:
        """Reports from now on that the server is about to stop, so that a load balancer sends no more requests."""
        self._closing = True

    def _check(self) -> list[str]:
        problems = []
        for what, check in self._checks:
            try:
                check()
            except CloudError:
                problems.append(f"{what} does not answer")
        return problems
