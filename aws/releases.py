"""Store of the record of releases, for commands: reads it, and changes it by conditional writes."""

from __future__ import annotations

from collections.abc import Callable

from aws.conflict_retry import retry_on_conflict
from aws.state import StateStore
from core.errors import ConflictError
from core.releases import KEY, ReleaseRecord

_ATTEMPTS = 5


class ReleaseStore:
    """Read and change the record of releases.

    Every method raises `CloudError` where S3 fails, `DecodeError` where the record is of another version.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def read(self) -> ReleaseRecord:
        """Read the record; a new one if none was ever written."""
        found = self._state.get(KEY)
        return ReleaseRecord() if found is None else ReleaseRecord.decode(found.body)

    def change(self, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
        """Replace the record by the value of `change`, which is called again if the controller wrote meanwhile."""
        return retry_on_conflict(
            lambda: self._change(change), _ATTEMPTS, "the record of releases is being changed by others; try again"
        )

    def _change(self, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
        found = self._state.get(KEY)
        record = change(ReleaseRecord() if found is None else ReleaseRecord.decode(found.body))
        body = record.encode()
        try:
            if found is None:
                self._state.create(KEY, body)
            else:
                self._state.replace(KEY, body, found.etag)
        except ConflictError:
            # A retry within botocore, after a lost response, conflicts with the write that it repeats.
            stored = self._state.get(KEY)
            if stored is None or stored.body != body:
                raise
        return record
