"""Store of the state bucket on S3: small objects that the tiers share, with conditional writes.

Keys: ``controller/lease.json`` (`aws.lease`), ``controller/status.json`` (`core.fleet_status`),
``controller/release.json`` (`core.releases`), ``models/…`` (`aws.models`, `core.shadow`),
``workers/<instance id>.json`` (`core.heartbeat`), ``tokens/<id>.json`` and ``usage/<id>.json`` (`aws.tokens`) and
``web/session-key`` and ``web/signed-out/…`` (`web_tier.auth.sessions`) and ``controller/bulk/…`` (`aws.bulk_runs`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from aws.buckets import StoredObject, list_objects
from aws.clients import cloud_errors
from aws.objects import delete_objects, only_ours, read_body
from core.errors import AlreadyExistsError, ConflictError, NotFoundError
from core.object_keys import KeyFamily

# The limit of the longest record; see `core.versioned_json`.
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StateObject:
    """An object's body, and the ETag of this version of it."""

    body: bytes
    etag: str


class StateStore:
    """Get, put, list and delete small objects.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def get(self, key: str, max_bytes: int = MAX_BYTES) -> StateObject | None:
        """Read an object, of a longer body only `max_bytes` + 1 bytes; None if there is no object."""
        try:
            with cloud_errors(f"reading {key}"):
                response = self._client.get_object(Bucket=self.bucket, Key=key)
                return StateObject(read_body(response, max_bytes), response["ETag"])
        except NotFoundError as error:
            # A missing bucket must not look like an empty one, or the program would begin with new state.
            if "NoSuchBucket" in str(error):
                raise
            return None

    def put(self, key: str, body: bytes) -> str:
        """Store an object, replacing any other; return its ETag."""
        return self._put(key, body)

    def create(self, key: str, body: bytes) -> str:
        """Store an object if there is none; return its ETag.

        Raises:
            ConflictError: there is one, or another request came first.  After a retry within botocore that may be
                this write itself.
        """
        return self._put(key, body, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Store an object in place of the version `etag`; return its new ETag.

        Raises:
            ConflictError: there is another version, or none; or as for `create`.
        """
        return self._put(key, body, IfMatch=etag)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Delete objects, 1,000 in a request; one that does not exist is no error."""
        delete_objects(self._client, self.bucket, keys)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is no error."""
        with contextlib.suppress(NotFoundError), cloud_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def put_file(self, key: str, file: IO[bytes], content_type: str) -> None:
        """Store a file of any size up to 5 GiB, replacing any other object."""
        with cloud_errors(f"writing {key}"):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=file, ContentType=content_type)

    def list(self, family: KeyFamily, start_after: str = "") -> Iterator[StoredObject]:
        """List the objects whose keys are of `family` and come after `start_after`, 1,000 in a request."""
        listing = list_objects(self._client, self.bucket, family.prefix, start_after)
        return only_ours(listing, f"{self.bucket}/{family.prefix}", family)

    def _put(self, key: str, body: bytes, **condition: str) -> str:
        try:
            with cloud_errors(f"writing {key}"):
                response = self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", **condition
                )
        except (AlreadyExistsError, NotFoundError) as error:
            if condition and "NoSuchBucket" not in str(error):
                raise ConflictError(str(error)) from error
            raise
        etag: str = response["ETag"]
        return etag
