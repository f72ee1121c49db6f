"""Reads the records of bulk runs, and the requests about them, from the state bucket, at most once in two seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from itertools import islice

from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRunRecords
from core.bulk_request import BulkRequest
from core.bulk_run import BulkRun
from core.errors import DecodeError
from core.jobs import is_batch_id
from web_tier.ttl_cache import TTLCache

CACHE_SECONDS = 2.0
# The newest; each is a request.
MAX_RUNS = 20


class BulkReader:
    """The bulk runs as their records have them; safe to share between threads.

    Args:
        requests: the requests that the controller has not carried out yet; None: there are none.
        clock: monotonic seconds.
    """

    def __init__(
        self, runs: BulkRunRecords, requests: BulkRequests | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = TTLCache(
            lambda: list(islice(runs.list(), MAX_RUNS)), CACHE_SECONDS, single_flight=True, clock=clock
        )
        self._source = requests
        self._run = TTLCache(runs.get, CACHE_SECONDS, clock=clock)
        self._requests = TTLCache(
            lambda: [] if requests is None else list(islice(_readable(requests), MAX_RUNS)),
            CACHE_SECONDS,
            single_flight=True,
            clock=clock,
        )

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

    def requests(self) -> list[BulkRequest]:
        """The newest requests that wait for the controller, newest first.

        Raises:
            CloudError: S3 failed.
        """
        return self._requests.get()

    def request(self, run_id: str) -> BulkRequest | None:
        """The request about a run that waits for the controller, as it is now; None if there is none.

        Raises:
            CloudError: S3 failed.
        """
        with contextlib.suppress(DecodeError):
            return None if self._source is None or not is_batch_id(run_id) else self._source.get(run_id)
        return None

    def invalidate(self) -> None:
        """Read the requests again, since one was stored."""
        self._requests.invalidate()


def _readable(requests: BulkRequests) -> Iterator[BulkRequest]:
    for run_id in reversed(requests.ids()):
        with contextlib.suppress(DecodeError):
            if (request := requests.get(run_id)) is not None:
                yield request
