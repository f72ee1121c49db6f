"""Carry out the web tier's requests about bulk runs, with the controller's rights and only within allowed buckets.

What is refused becomes the record of a run that never began, so that page and API show the reason.  Each step may be
repeated, by this controller after a crash or by another one at the same time; the request is deleted last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aws.bulk_buckets import PhotoSource
from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRuns
from core.bulk_request import Action, AllowedBuckets, BulkRequest
from core.bulk_run import BulkRun
from core.errors import ArgumentError, DecodeError, DeniedError, NotFoundError
from core.periodic_task import ItemGuard

log = logging.getLogger(__name__)


class BulkRequestHandler:
    """See the module.

    Args:
        source_of: returns the store of a run's photos.
        allowed: the buckets that requested runs may use.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        requests: BulkRequests,
        runs: BulkRuns,
        source_of: Callable[[BulkRun], PhotoSource],
        allowed: AllowedBuckets,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._runs = runs
        self._source_of = source_of
        self._allowed = allowed
        self._clock = clock

    def round(self) -> bool:
        """Carry out all requests; return whether there were any.  One that fails is tried again in the next round.

        Raises:
            RoundError: at least one failed.
            CloudError: they could not be listed.
        """
        guard, ids = ItemGuard(), self._requests.ids()
        for run_id in ids:
            with guard.item(f"the request about the bulk run {run_id}"):
                self._handle(run_id)
                self._requests.delete(run_id)
        guard.raise_failures()
        return bool(ids)

    def _handle(self, run_id: str) -> None:
        try:
            request = self._requests.get(run_id)
            if request is None:
                return
            if request.run_id != run_id:
                raise DecodeError("it is about another run")
            log.info("the bulk run %s: %s, requested by %s", run_id, request.action, request.owner)
            if request.action is Action.START:
                self._start(request)
            elif request.action is Action.CANCEL:
                self._runs.cancel(run_id, self._clock())
            else:
                self._runs.resume(run_id)
        except (ArgumentError, DecodeError, NotFoundError) as error:
            log.warning("the request about the bulk run %s is dropped: %s", run_id, error)

    def _start(self, request: BulkRequest) -> None:
        if self._runs.exists(request.run_id):
            return  # this very request, repeated
        run = request.run()
        try:
            self._allowed.check(run)
            self._runs.check_source(run, self._source_of(run))
            self._runs.claim_output(run)
        except (ArgumentError, DeniedError, NotFoundError) as error:
            log.warning("the bulk run %s is refused: %s", run.run_id, error)
            self._runs.refuse(run, str(error), self._clock())
        else:
            self._runs.start(run)
