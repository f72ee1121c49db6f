"""Lists of batches on S3: each owner's, newest first, and those that are being deleted.

Empty objects in the input bucket, under prefixes that no batch id can have, whose *keys* say everything: a page of a
list is one request, however many batches there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from aws.clients import cloud_errors
from aws.objects import list_objects

_OWNERS_PREFIX = "owners/"
_DELETED_PREFIX = "deleted/"
# S3 lists keys in ascending order; counting down from here puts the newest batch first.
_LATEST = 99_999_999_999_999
_BATCH_ID_TIME = slice(0, 15)


class BatchIndex:
    """Adds, lists and removes.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def add(self, owner: str, batch_id: str) -> None:
        """Puts a batch into its owner's list."""
        self._put(index_key(owner, batch_id))

    def remove(self, owner: str, batch_id: str) -> None:
        """Takes a batch out of its owner's list; no error where it is not in it."""
        self._delete(index_key(owner, batch_id))

    def page(self, owner: str, limit: int, after: str = "") -> list[str]:
        """The ids of up to `limit` (at most 1,000) batches of an owner, newest first, in one request.

        Args:
            after: the id of the batch where the last page ended; empty: the first page.
        """
        prefix = f"{_OWNERS_PREFIX}{owner}/"
        start = {"StartAfter": index_key(owner, after)} if after else {}
        with cloud_errors("listing batches"):
            response = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=limit, **start)
        return [entry["Key"].rpartition("/")[2][15:] for entry in response.get("Contents", [])]

    def mark_deleted(self, batch_id: str) -> None:
        """Notes that whatever is still found of a batch is to be deleted."""
        self._put(f"{_DELETED_PREFIX}{batch_id}")

    def deleted(self) -> Iterator[tuple[str, datetime]]:
        """The ids of such batches, and when each was noted."""
        for stored in list_objects(self._client, self._bucket, _DELETED_PREFIX):
            yield stored.key.removeprefix(_DELETED_PREFIX), stored.last_modified

    def forget_deleted(self, batch_id: str) -> None:
        """Removes the note; no error where there is none."""
        self._delete(f"{_DELETED_PREFIX}{batch_id}")

    def _put(self, key: str) -> None:
        with cloud_errors(f"writing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")

    def _delete(self, key: str) -> None:
        with cloud_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)


def index_key(owner: str, batch_id: str) -> str:
    """Where a batch stands in its owner's list: ``owners/<owner>/<time counted down>-<batch id>``."""
    seconds = int(batch_id[_BATCH_ID_TIME].replace("-", ""))
    return f"{_OWNERS_PREFIX}{owner}/{_LATEST - seconds:014d}-{batch_id}"
