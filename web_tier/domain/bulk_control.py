"""Stores what operators ask for: bulk runs to be started, cancelled and resumed.  The controller does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRunRecords
from core.bulk_request import Action, BulkRequest
from core.bulk_run import cancelled, resumed
from core.jobs import new_batch_id


class BulkControl:
    """Checks requests as far as that needs no rights, and stores them.

    Args:
        is_enabled: whether the controller carries them out.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        requests: BulkRequests,
        runs: BulkRunRecords,
        *,
        is_enabled: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._runs = runs
        self._clock = clock
        self.is_enabled = is_enabled

    def new_request(self, owner: str) -> BulkRequest:
        """A request for a run with a new id, whose fields are to be filled in."""
        now = self._clock()
        return BulkRequest(new_batch_id(datetime.fromtimestamp(now, UTC)), Action.START, now, owner)

    def start(self, request: BulkRequest) -> None:
        """Have a run started.

        Raises:
            ArgumentError: it could not be started whatever the controller may do.
        """
        request.run()
        self._requests.add(request)

    def cancel(self, run_id: str, owner: str) -> None:
        """Have a run cancelled.

        Raises:
            NotFoundError: there is none with this id.
            ArgumentError: it is over.
            ConflictError: another request about it waits.
        """
        cancelled(self._runs.get(run_id), self._clock())
        self._requests.add(BulkRequest(run_id, Action.CANCEL, self._clock(), owner))

    def resume(self, run_id: str, owner: str) -> None:
        """Have a run resumed.

        Raises:
            NotFoundError: there is none with this id.
            ArgumentError: there is nothing to resume.
            ConflictError: another request about it waits.
        """
        resumed(self._runs.get(run_id))
        self._requests.add(BulkRequest(run_id, Action.RESUME, self._clock(), owner))
