"""What every bucket can do: list, delete, say that it is there."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from aws.clients import cloud_errors
from core.errors import CloudError
from core.object_keys import KeyFamily

log = logging.getLogger(__name__)

# S3's limit on keys of one DeleteObjects request.
_KEYS_PER_DELETE = 1000
# Where foreign objects were found and reported already.
_reported: set[str] = set()


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


def only_ours(listing: Iterable[StoredObject], place: str, *families: KeyFamily) -> Iterator[StoredObject]:
    """The objects of a listing whose keys are of one of the families.

    Foreign ones are reported when the listing ends: as a warning once for each place, later at DEBUG.

    Args:
        place: where, for the log: the bucket, or all of a prefix in it.
    """
    foreign, example = 0, ""
    for stored in listing:
        if any(family.owns(stored.key) for family in families):
            yield stored
        else:
            foreign, example = foreign + 1, stored.key
    if foreign:
        level = logging.DEBUG if place in _reported else logging.WARNING
        _reported.add(place)
        log.log(level, "%s: %d foreign objects are ignored, such as %r", place, foreign, example)


def read_body(response: Any, max_bytes: int) -> bytes:
    """The body of a GetObject response; of a longer one, only the first `max_bytes` + 1.

    So an object of any size costs little memory, and decoders, which check the size first, refuse it.
    """
    body = response["Body"]
    if response["ContentLength"] <= max_bytes:
        whole: bytes = body.read()
        return whole
    with contextlib.closing(body):
        start: bytes = body.read(max_bytes + 1)
    return start


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
