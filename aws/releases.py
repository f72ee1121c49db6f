"""The record of releases in the state bucket, for commands: read, and changed by conditional writes."""

from __future__ import annotations

from collections.abc import Callable

from aws.conflict_retry import retry_on_conflict
from aws.state import StateStore
from core.releases import KEY, ReleaseRecord

_ATTEMPTS = 5


class ReleaseStore:
    """Reads and changes the record.

    Every method raises `CloudError` where S3 fails, `DecodeError` where the record is of another version.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def read(self) -> ReleaseRecord:
        """The record; a fresh one where none was ever written."""
        found = self._state.get(KEY)
        return ReleaseRecord() if found is None else ReleaseRecord.decode(found.body)

    def change(self, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
        """Replaces the record by what `change` makes of it; asked anew where the controller wrote meanwhile."""
        return retry_on_conflict(
            lambda: self._change(change), _ATTEMPTS, "the record of releases is being changed by others; try again"
        )

    def _change(self, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
        found = self._state.get(KEY)
        record = change(ReleaseRecord() if found is None else ReleaseRecord.decode(found.body))
        if found is None:
            self._state.create(KEY, record.encode())
        else:
            self._state.replace(KEY, record.encode(), found.etag)
        return record
