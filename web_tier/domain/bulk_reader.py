"""Reads the records of bulk runs from the state bucket, at most once in two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from aws.bulk_runs import BulkRunRecords
from core.bulk_run import BulkRun
from web_tier.ttl_cache import TTLCache

CACHE_SECONDS = 2.0
# The newest; each is a request.
MAX_RUNS = 20


class BulkReader:
    """The bulk runs as their records have them; safe to share between threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, runs: BulkRunRecords, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = TTLCache(
            lambda: list(islice(runs.list(), MAX_RUNS)), CACHE_SECONDS, single_flight=True, clock=clock
        )
        self._run = TTLCache(runs.get, CACHE_SECONDS, clock=clock)

    def runs(self) -> list[BulkRun]:
        """The `MAX_RUNS` newest runs, newest first.

        Raises:
            CloudError: S3 failed.
        """
        return self._runs.get()

    def run(self, run_id: str) -> BulkRun:
        """One run.

        Raises:
            NotFoundError: there is none with this id.
            CloudError: S3 failed.
        """
        return self._run.get(run_id)
