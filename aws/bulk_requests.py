"""The requests about bulk runs in the state bucket: the web tier stores them, the controller takes them."""

from __future__ import annotations

from aws.state import StateStore
from core.bulk_request import MAX_REQUEST_BYTES, BulkRequest
from core.errors import ConflictError
from core.object_keys import BULK_REQUESTS


class BulkRequests:
    """Store, list, read and delete requests, at most one for each run.

    Every method raises `CloudError` where S3 fails after botocore's retries.

    Args:
        state: the state bucket.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def add(self, request: BulkRequest) -> None:
        """Store a request.

        Raises:
            ConflictError: another one about this run waits.
        """
        key = BULK_REQUESTS.key_of(request.run_id)
        try:
            self._state.create(key, request.encode())
        except ConflictError as error:
            found = self.get(request.run_id)
            if found != request:  # else this very request, repeated by botocore
                raise ConflictError(f"another request about the run {request.run_id} waits") from error

    def ids(self) -> list[str]:
        """The ids of the runs about which a request waits, oldest first."""
        return [BULK_REQUESTS.name_of(stored.key) for stored in self._state.list(BULK_REQUESTS)]

    def get(self, run_id: str) -> BulkRequest | None:
        """Read the request about a run; None if there is none.

        Raises:
            DecodeError: the object is not a request.
        """
        found = self._state.get(BULK_REQUESTS.key_of(run_id), MAX_REQUEST_BYTES)
        return None if found is None else BulkRequest.decode(found.body)

    def delete(self, run_id: str) -> None:
        """Delete the request about a run."""
        self._state.delete(BULK_REQUESTS.key_of(run_id))
