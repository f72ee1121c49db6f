"""The bulk runs of a deployment: a record for each in the state bucket, and a mark for each that is not over."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.conflict_retry import retry_on_conflict
from aws.state import StateStore
from core.bulk_plan import plan_segments
from core.bulk_run import CANCELLED_NAME, RUN_NAME, BulkRun, Change, Status, cancelled, resumed
from core.errors import ArgumentError, ConflictError, DecodeError, DeniedError, NotFoundError
from core.jobs import is_batch_id
from core.object_keys import ACTIVE_BULK_RUNS, BULK_RUNS
from core.versioned_json import RECORDS

_MAX_BYTES = RECORDS[BulkRun].max_bytes
# The controllers, and a command that cancels the run.
_ATTEMPTS, _MAX_PAUSE_SECONDS = 8, 0.1


class BulkRunRecords:
    """Read, store and change the records of bulk runs.

    Every method raises `CloudError` where S3 fails after botocore's retries.

    Args:
        state: the state bucket.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def start(self, run: BulkRun) -> None:
        """Store a new run's record; from now on it is worked on."""
        self._state.put(BULK_RUNS.key_of(run.run_id), run.encode())
        self._state.put(ACTIVE_BULK_RUNS.key_of(run.run_id), b"")

    def get(self, run_id: str) -> BulkRun:
        """Read a run's record.

        Raises:
            NotFoundError: there is no run with this id.
            DecodeError: the object is not a record.
        """
        return self._read(run_id)[0]

    def exists(self, run_id: str) -> bool:
        """Whether a run has a record, also one that cannot be read."""
        return self._state.get(BULK_RUNS.key_of(run_id), _MAX_BYTES) is not None

    def refuse(self, run: BulkRun, problem: str, now: float) -> None:
        """Store the record of a run that is not begun, with the reason.

        Args:
            now: seconds since the epoch.
        """
        refused = dataclasses.replace(run, status=Status.REFUSED, problem=problem[:1000], finished_at=now)
        self._state.put(BULK_RUNS.key_of(run.run_id), refused.encode())

    def ids(self) -> list[str]:
        """The ids of all runs, newest first."""
        return sorted((BULK_RUNS.name_of(stored.key) for stored in self._state.list(BULK_RUNS)), reverse=True)

    def active_ids(self) -> list[str]:
        """The ids of the runs that are not over, oldest first."""
        return [ACTIVE_BULK_RUNS.name_of(stored.key) for stored in self._state.list(ACTIVE_BULK_RUNS)]

    def list(self) -> Iterator[BulkRun]:
        """Read the records of all runs, newest first; those that cannot be read are left out."""
        for run_id in self.ids():
            try:
                yield self.get(run_id)
            except (NotFoundError, DecodeError):
                continue

    def update(self, run_id: str, change: Change) -> BulkRun:
        """Replace a run's record by a changed one, unless another writer does so meanwhile; return the new record.

        Args:
            change: makes the new record of the current one; called again after a conflict.
        """

        def attempt() -> BulkRun:
            run, etag = self._read(run_id)
            new = change(run)
            if new != run:
                self._state.replace(BULK_RUNS.key_of(run_id), new.encode(), etag)
            return new

        failure = f"too many changes of the bulk run {run_id} at the same time"
        return retry_on_conflict(attempt, _ATTEMPTS, failure, max_pause_seconds=_MAX_PAUSE_SECONDS)

    def end(self, run_id: str) -> None:
        """Delete the mark that a run is not over."""
        self._state.delete(ACTIVE_BULK_RUNS.key_of(run_id))

    def _read(self, run_id: str) -> tuple[BulkRun, str]:
        found = self._state.get(BULK_RUNS.key_of(run_id), _MAX_BYTES) if is_batch_id(run_id) else None
        if found is None:
            raise NotFoundError(f"there is no bulk run {run_id}; `elastic bulk list` shows all")
        return BulkRun.decode(found.body), found.etag


class BulkRuns(BulkRunRecords):
    """The records of bulk runs, and what a run writes to its output when it is started, cancelled and resumed.

    Every method raises `CloudError` where S3 fails after botocore's retries.

    Args:
        state: the state bucket.
        bucket_of: returns the store of any bucket, for the outputs.
    """

    def __init__(self, state: StateStore, bucket_of: Callable[[str], BulkOutput]) -> None:
        super().__init__(state)
        self._bucket_of = bucket_of

    def output(self, run: BulkRun) -> BulkOutput:
        """The bucket that a run writes to."""
        return self._bucket_of(run.output_bucket)

    def claim_output(self, run: BulkRun) -> None:
        """Store the mark that a run writes to its output, which is the only one that does.

        Raises:
            ArgumentError: another run has.
        """
        key = run.key(RUN_NAME)
        try:
            self.output(run).create(key, run.encode())
        except NotFoundError as error:
            raise ArgumentError(f"there is no bucket {run.output_bucket}") from error
        except DeniedError as error:
            raise ArgumentError(f"{run.output} cannot be written with these credentials: {error}") from error
        except ConflictError as error:
            found = self.output(run).get(key, _MAX_BYTES)
            other = _id_in(found.body) if found is not None else ""
            if other == run.run_id:
                return  # this very request, repeated
            raise ArgumentError(
                f"{run.output} holds the output of another run{f' ({other})' if other else ''}: choose another output"
            ) from error

    def release_output(self, run: BulkRun) -> None:
        """Delete what a run that was not started has written to its output."""
        output = self.output(run)
        output.delete_all(stored.key for stored in output.list(run.segments))
        output.delete(run.key(RUN_NAME))

    def check_source(self, run: BulkRun, source: PhotoSource) -> None:
        """Check that a run's source can be listed and has an object.

        Raises:
            ArgumentError: it cannot, or has none.
        """
        try:
            first = next(source.list_keys(run.source_prefix), None)
        except NotFoundError as error:
            raise ArgumentError(f"there is no bucket {run.source_bucket}") from error
        except DeniedError as error:
            raise ArgumentError(f"{run.source} cannot be listed with these credentials: {error}") from error
        if first is None:
            raise ArgumentError(f"there is no object whose key begins with {run.source}")

    def plan_manifest(
        self, run: BulkRun, keys: Iterable[str], is_included: Callable[[str], bool] = lambda key: True
    ) -> BulkRun:
        """Store the whole plan of a run whose keys a manifest lists; return the run, ready to be started."""
        output = self.output(run)
        for segment in plan_segments(run, keys, is_included):
            # What the manifest's order has last is no place in a listing.
            segment = dataclasses.replace(segment, cursor="")
            output.put(run.segment_key(segment.number), segment.encode())
            run = run.planned(segment)
        return run

    def cancel(self, run_id: str, now: float | None = None) -> BulkRun:
        """Cancel a run: no further job of it is begun.

        Args:
            now: seconds since the epoch; by default this machine's clock.

        Raises:
            ArgumentError: it is over.
        """
        at = time.time() if now is None else now
        run = cancelled(self.get(run_id), at)
        # The mark first: workers read it alone.
        self.output(run).put(run.key(CANCELLED_NAME), b"")
        run = self.update(run_id, lambda run: cancelled(run, at))
        self.end(run_id)
        return run

    def resume(self, run_id: str) -> BulkRun:
        """Go on with a run that was cancelled or has failed, or enqueue the missing jobs of one again.

        Raises:
            ArgumentError: it is complete.
        """
        run = self.update(run_id, resumed)
        self.output(run).delete(run.key(CANCELLED_NAME))
        self._state.put(ACTIVE_BULK_RUNS.key_of(run_id), b"")
        return run


def _id_in(body: bytes) -> str:
    try:
        return BulkRun.decode(body).run_id
    except DecodeError:
        return ""
