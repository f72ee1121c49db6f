"""The two buckets on S3: uploaded images, and results."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote, unquote

from aws.clients import cloud_errors
from core.errors import AlreadyExistsError, DecodeError, NotFoundError
from core.jobs import ClassificationResult

# Batch records live beside the images, under a prefix that no batch id can have.
_BATCH_PREFIX = "batches/"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row of a bucket listing."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An uploaded image: its bytes as they came, and the name its owner gave it."""

    body: bytes
    name: str


class ImageStore:
    """Uploaded images, each under its key, and one small record for each batch.

    Every method raises `CloudError` where S3 fails after botocore's retries, `NotFoundError` where the
    object does not exist.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def create_batch(self, batch_id: str, record: dict[str, Any]) -> None:
        """Stores a batch's record; it makes the batch known before its first image arrives."""
        with cloud_errors("creating the batch"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=f"{_BATCH_PREFIX}{batch_id}.json",
                Body=json.dumps(record).encode(),
                ContentType="application/json",
            )

    def read_batch(self, batch_id: str) -> dict[str, Any]:
        """A batch's record."""
        with cloud_errors(f"reading the batch {batch_id}"):
            response = self._client.get_object(Bucket=self.bucket, Key=f"{_BATCH_PREFIX}{batch_id}.json")
            record: dict[str, Any] = json.loads(response["Body"].read())
            return record

    def put(self, key: str, body: IO[bytes] | bytes, name: str, *, only_if_new: bool = False) -> None:
        """Stores an image, replacing one of the same key.

        Raises:
            AlreadyExistsError: `only_if_new` and there is an image with this key.
        """
        metadata, condition = {"name": quote(name)}, {}
        if only_if_new:
            metadata["upload"], condition = secrets.token_hex(8), {"IfNoneMatch": "*"}
        try:
            with cloud_errors("storing the image"):
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/octet-stream",
                    Metadata=metadata,
                    **condition,
                )
        except AlreadyExistsError:
            # Perhaps it is this very image: the first attempt took effect, its answer got lost, and the retry met it.
            if not only_if_new or self._metadata(key).get("upload") != metadata["upload"]:
                raise

    def get(self, key: str) -> StoredImage:
        """Fetches an image."""
        with cloud_errors("fetching the image"):
            response = self._client.get_object(Bucket=self.bucket, Key=key)
            return StoredImage(body=response["Body"].read(), name=unquote(response["Metadata"].get("name", key)))

    def name(self, key: str) -> str:
        """The name that an image's owner gave it, without fetching the image."""
        return unquote(self._metadata(key).get("name", key))

    def batches_since(self, since: datetime) -> Iterator[str]:
        """The ids of the batches created at or after `since` (UTC), oldest first."""
        start = f"{_BATCH_PREFIX}{since:%Y%m%d-%H%M%S}"
        for stored in _list(self._client, self.bucket, _BATCH_PREFIX, start_after=start):
            yield stored.key.removeprefix(_BATCH_PREFIX).removesuffix(".json")

    def list(self, batch_id: str) -> Iterator[StoredObject]:
        """The images of a batch in the order of their keys, a thousand a request."""
        return _list(self._client, self.bucket, f"{batch_id}/")

    def _metadata(self, key: str) -> dict[str, str]:
        with cloud_errors("reading the image's metadata"):
            metadata: dict[str, str] = self._client.head_object(Bucket=self.bucket, Key=key)["Metadata"]
            return metadata


class ResultStore:
    """Results, each under the key of its image.

    Every method raises `CloudError` where S3 fails after botocore's retries, `NotFoundError` where the
    object does not exist.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def put(self, result: ClassificationResult) -> None:
        """Stores a result, replacing an earlier one for the same image."""
        body, metadata = result.encode()
        with cloud_errors("storing the result"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=result.key,
                Body=body,
                ContentType="text/csv; charset=utf-8",
                Metadata=metadata,
            )

    def get(self, key: str) -> ClassificationResult:
        """Fetches a result.

        Raises:
            DecodeError: the object is not a result.
        """
        with cloud_errors("fetching the result"):
            response = self._client.get_object(Bucket=self.bucket, Key=key)
            return ClassificationResult.decode(key, response["Body"].read(), response["Metadata"])

    def exists(self, key: str) -> bool:
        """Whether there is a result with this key."""
        try:
            with cloud_errors("looking for the result"):
                self._client.head_object(Bucket=self.bucket, Key=key)
        except NotFoundError:
            return False
        return True

    def line(self, key: str) -> str:
        """The body of a result object, the way a person who opens the bucket sees it."""
        with cloud_errors("fetching the result"):
            response = self._client.get_object(Bucket=self.bucket, Key=key)
            body: bytes = response["Body"].read()
            try:
                return body.decode().rstrip("\n")
            except UnicodeDecodeError as error:
                raise DecodeError(f"{key} is not a result: not text") from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The results whose keys begin with `prefix` (``<batch_id>/``; empty: all), in the order of their keys."""
        return _list(self._client, self.bucket, prefix)


def _list(client: Any, bucket: str, prefix: str, start_after: str = "") -> Iterator[StoredObject]:
    arguments = {"StartAfter": start_after} if start_after else {}
    with cloud_errors(f"listing the bucket {bucket}"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **arguments):
            for entry in page.get("Contents", []):
                yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"])
