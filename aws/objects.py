"""What every bucket can do: list, delete, say that it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from aws.clients import cloud_errors
from core.errors import CloudError

# S3's limit on keys of one DeleteObjects request.
_KEYS_PER_DELETE = 1000


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row of a bucket listing."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime


def list_objects(client: Any, bucket: str, prefix: str, start_after: str = "") -> Iterator[StoredObject]:
    """The objects whose keys begin with `prefix` and come after `start_after`, a thousand a request."""
    arguments = {"StartAfter": start_after} if start_after else {}
    with cloud_errors(f"listing the bucket {bucket}"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **arguments):
            for entry in page.get("Contents", []):
                yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"])


def delete_below(client: Any, bucket: str, prefix: str) -> None:
    """Deletes the objects whose keys begin with `prefix`."""
    delete_objects(client, bucket, (stored.key for stored in list_objects(client, bucket, prefix)))


def delete_objects(client: Any, bucket: str, keys: Iterable[str]) -> None:
    """Deletes objects, a thousand a request; one that is gone already is no error."""
    remaining = iter(keys)
    while chunk := list(islice(remaining, _KEYS_PER_DELETE)):
        with cloud_errors(f"deleting from the bucket {bucket}"):
            entries = [{"Key": key} for key in chunk]
            response = client.delete_objects(Bucket=bucket, Delete={"Objects": entries, "Quiet": True})
        if failed := response.get("Errors"):
            code = failed[0].get("Code")
            raise CloudError(f"deleting from the bucket {bucket} failed: {code} for {len(failed)} objects")


def check_bucket(client: Any, bucket: str) -> None:
    """Raises `CloudError` where the bucket cannot be reached."""
    with cloud_errors(f"looking for the bucket {bucket}"):
        client.head_bucket(Bucket=bucket)
