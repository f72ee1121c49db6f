"""Operations on any bucket: list and delete objects, read a limited body, check that the bucket exists."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Protocol

from aws.clients import cloud_errors
from core.errors import CloudError

log = logging.getLogger(__name__)

# S3's limit on keys of one DeleteObjects request.
_KEYS_PER_DELETE = 1000
# The places whose foreign objects have been logged as a warning already.
_reported: set[str] = set()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row of a bucket listing."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime


class KeyKind(Protocol):
    """A kind of keys: a family of them, or the keys below a prefix."""

    def owns(self, key: str) -> bool: ...


def list_objects(
    client: Any, bucket: str, prefix: str, start_after: str = "", *, folders: bool = True, requester_pays: bool = False
) -> Iterator[StoredObject]:
    """List the objects whose keys begin with `prefix` and come after `start_after`, 1,000 in a request.

    Args:
        folders: whether to list keys that have a slash after the prefix.
        requester_pays: accept the costs of listing.
    """
    arguments = {"StartAfter": start_after} if start_after else {}
    if requester_pays:
        arguments["RequestPayer"] = "requester"
    if not folders:
        arguments["Delimiter"] = "/"
    with cloud_errors(f"listing the bucket {bucket}"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **arguments):
            for entry in page.get("Contents", []):
                yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"])


def list_top_level(client: Any, bucket: str) -> Iterator[str]:
    """List the keys in a bucket that have no slash, and the prefixes up to the first slash of all others."""
    with cloud_errors(f"listing the bucket {bucket}"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/"):
            yield from (entry["Key"] for entry in page.get("Contents", []))
            yield from (entry["Prefix"] for entry in page.get("CommonPrefixes", []))


def only_ours(listing: Iterable[StoredObject], place: str, *families: KeyKind) -> Iterator[StoredObject]:
    """Filter a listing for objects whose keys are of one of the families.

    Foreign objects are logged when the listing ends: as a warning once for each place, later at DEBUG.

    Args:
        place: what is listed, for the log: the bucket, or the bucket and a prefix.
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
    """Read the body of a GetObject response; of a longer one, only the first `max_bytes` + 1 bytes.

    So an oversized object costs little memory, and decoders, which check the size first, refuse it.
    """
    body = response["Body"]
    if response["ContentLength"] <= max_bytes:
        whole: bytes = body.read()
        return whole
    with contextlib.closing(body):
        start: bytes = body.read(max_bytes + 1)
    return start


def delete_below(client: Any, bucket: str, prefix: str) -> None:
    """Delete the objects whose keys begin with `prefix`."""
    delete_objects(client, bucket, (stored.key for stored in list_objects(client, bucket, prefix)))


def delete_objects(client: Any, bucket: str, keys: Iterable[str]) -> None:
    """Delete objects, up to 1,000 in a request; one that does not exist is no error."""
    remaining = iter(keys)
    while chunk := list(islice(remaining, _KEYS_PER_DELETE)):
        with cloud_errors(f"deleting from the bucket {bucket}"):
            entries = [{"Key": key} for key in chunk]
            response = client.delete_objects(Bucket=bucket, Delete={"Objects": entries, "Quiet": True})
        if failed := response.get("Errors"):
            code = failed[0].get("Code")
            raise CloudError(f"deleting from the bucket {bucket} failed: {code} for {len(failed)} objects")


def check_bucket(client: Any, bucket: str) -> None:
    """Check that the bucket can be reached; raises `CloudError` if not."""
    with cloud_errors(f"looking for the bucket {bucket}"):
        client.head_bucket(Bucket=bucket)
