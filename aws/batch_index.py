"""Index of batches on S3: each owner's, newest first, and those that are being deleted.

The entries are empty objects in the input bucket, under prefixes that no batch id can have; their *keys* contain all
information, so a page of a list is one request, however many batches there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from aws.clients import cloud_errors
from aws.objects import list_objects, only_ours
from core.object_keys import DELETED_BATCHES, OWNED_BATCHES

# S3 lists keys in ascending order; counting down from here puts the newest batch first.
_LATEST = 99_999_999_999_999
_BATCH_ID_TIME = slice(0, 15)
_BATCH_ID_CHARACTERS = 28


class BatchIndex:
    """The lists of each owner's batches, and the notes of batches to delete.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def add(self, owner: str, batch_id: str) -> None:
        """Add a batch to its owner's list."""
        self._put(index_key(owner, batch_id))

    def remove(self, owner: str, batch_id: str) -> None:
        """Remove a batch from its owner's list; no error if it is not there."""
        self._delete(index_key(owner, batch_id))

    def page(self, owner: str, limit: int, after: str = "") -> list[str]:
        """List up to `limit` (at most 1,000) batch ids of an owner, newest first, in one request.

        Foreign objects in the list are left out; only these cost further requests.

        Args:
            after: the id of the batch where the last page ended; empty: the first page.
        """
        prefix = f"{OWNED_BATCHES.prefix}{owner}/"
        start = {"StartAfter": index_key(owner, after)} if after else {}
        found: list[str] = []
        more = True
        while more and len(found) < limit:
            with cloud_errors("listing batches"):
                response = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=prefix, MaxKeys=limit - len(found), **start
                )
            keys = [entry["Key"] for entry in response.get("Contents", [])]
            found += batches_in(keys)
            more = bool(keys) and response.get("IsTruncated", False)
            start = {"StartAfter": keys[-1]} if keys else {}
        return found

    def mark_deleted(self, batch_id: str) -> None:
        """Note that all remaining objects of a batch are to be deleted."""
        self._put(DELETED_BATCHES.key_of(batch_id))

    def deleted(self) -> Iterator[tuple[str, datetime]]:
        """Iterate over the batches noted by `mark_deleted`: their ids, and when each was noted."""
        prefix = DELETED_BATCHES.prefix
        listing = list_objects(self._client, self._bucket, prefix)
        for stored in only_ours(listing, f"{self._bucket}/{prefix}", DELETED_BATCHES):
            yield DELETED_BATCHES.name_of(stored.key), stored.last_modified

    def forget_deleted(self, batch_id: str) -> None:
        """Remove the note of `mark_deleted`; no error if there is none."""
        self._delete(DELETED_BATCHES.key_of(batch_id))

    def _put(self, key: str) -> None:
        with cloud_errors(f"writing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")

    def _delete(self, key: str) -> None:
        with cloud_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)


def index_key(owner: str, batch_id: str) -> str:
    """The key of a batch in its owner's list: ``owners/<owner>/<time counted down>-<batch id>``."""
    seconds = int(batch_id[_BATCH_ID_TIME].replace("-", ""))
    return OWNED_BATCHES.key_of(f"{owner}/{_LATEST - seconds:014d}-{batch_id}")


def batches_in(keys: Iterable[str]) -> list[str]:
    """The ids of the batches in keys of an owner's list; keys that `index_key` does not make are left out."""
    batch_ids = ((key, key[-_BATCH_ID_CHARACTERS:]) for key in keys if OWNED_BATCHES.owns(key))
    return [batch_id for key, batch_id in batch_ids if key == index_key(key.split("/")[1], batch_id)]
