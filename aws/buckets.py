"""The two buckets on S3: uploaded images, and results."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote, unquote

from aws.clients import cloud_errors
from aws.objects import StoredObject as StoredObject  # who deals with the stores deals with these
from aws.objects import check_bucket, delete_below, delete_objects
from aws.objects import list_objects as list_objects
from core.errors import AlreadyExistsError, DecodeError, NotFoundError
from core.jobs import ClassificationResult

# Batch records live beside the images, under a prefix that no batch id can have.
_BATCH_PREFIX = "batches/"
# Beside a batch's results, where every listing of them finds it at no cost; no key of an image looks like it.
_CANCELLED_NAME = "cancelled"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An uploaded image: its bytes as they came, and the name its owner gave it."""

    body: bytes
    name: str


@dataclass(frozen=True, slots=True)
class PresignedPost:
    """Where, and with what form fields before the field ``file``, somebody may post one object."""

    url: str
    fields: dict[str, str]


class ImageStore:
    """Uploaded images, each under its key, and one small record for each batch.

    Every method raises `CloudError` where S3 fails after botocore's retries, `NotFoundError` where the
    object does not exist.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def create_batch(self, batch_id: str, record: dict[str, Any]) -> None:
        """Stores a batch's record, in place of an earlier one; it makes the batch known before its first image."""
        with cloud_errors("writing the batch's record"):
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

    def presign(self, key: str, name: str, size_bytes: int, expires_seconds: int) -> PresignedPost:
        """Permission to post one image of exactly this key, name and size, straight to S3; sends no request."""
        fields = {"x-amz-meta-name": quote(name), "Content-Type": "application/octet-stream"}
        conditions = [{field: value} for field, value in fields.items()]
        with cloud_errors("signing an upload"):
            signed = self._client.generate_presigned_post(
                self.bucket,
                key,
                Fields=fields,
                Conditions=[*conditions, ["content-length-range", size_bytes, size_bytes]],
                ExpiresIn=expires_seconds,
            )
        return PresignedPost(signed["url"], signed["fields"])

    def head(self, key: str) -> tuple[str, int]:
        """An image's name and its size in bytes, without fetching it."""
        with cloud_errors("looking for the image"):
            response = self._client.head_object(Bucket=self.bucket, Key=key)
            return unquote(response["Metadata"].get("name", key)), int(response["ContentLength"])

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes images, a thousand a request; one that is gone already is no error."""
        delete_objects(self._client, self.bucket, keys)

    def delete_batch(self, batch_id: str) -> None:
        """Deletes all images of a batch, then its record."""
        delete_below(self._client, self.bucket, f"{batch_id}/")
        delete_objects(self._client, self.bucket, [f"{_BATCH_PREFIX}{batch_id}.json"])

    def check(self) -> None:
        """Raises `CloudError` where the bucket cannot be reached."""
        check_bucket(self._client, self.bucket)

    def name(self, key: str) -> str:
        """The name that an image's owner gave it, without fetching the image."""
        return unquote(self._metadata(key).get("name", key))

    def batches_since(self, since: datetime) -> Iterator[str]:
        """The ids of the batches created at or after `since` (UTC), oldest first."""
        start = f"{_BATCH_PREFIX}{since:%Y%m%d-%H%M%S}"
        for stored in list_objects(self._client, self.bucket, _BATCH_PREFIX, start_after=start):
            yield stored.key.removeprefix(_BATCH_PREFIX).removesuffix(".json")

    def list(self, batch_id: str) -> Iterator[StoredObject]:
        """The images of a batch in the order of their keys, a thousand a request."""
        return list_objects(self._client, self.bucket, f"{batch_id}/")

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

    def put(self, result: ClassificationResult, *, only_if_new: bool = False) -> None:
        """Stores a result, replacing an earlier one for the same image.

        Raises:
            AlreadyExistsError: `only_if_new` and there is one; after a retry that may be this very one.
        """
        body, metadata = result.encode()
        condition = {"IfNoneMatch": "*"} if only_if_new else {}
        with cloud_errors("storing the result"):
            self._client.put_object(
                Bucket=self.bucket,
                Key=result.key,
                Body=body,
                ContentType="text/csv; charset=utf-8",
                Metadata=metadata,
                **condition,
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

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        """The results whose keys begin with `prefix` (``<batch_id>/``; empty: all), in the order of their keys.

        Args:
            start_after: only keys after this one.
        """
        return list_objects(self._client, self.bucket, prefix, start_after)

    def mark_cancelled(self, batch_id: str) -> None:
        """Notes among a batch's results that it was cancelled; see `is_cancelled_mark`."""
        with cloud_errors(f"cancelling the batch {batch_id}"):
            self._client.put_object(Bucket=self.bucket, Key=f"{batch_id}/{_CANCELLED_NAME}", Body=b"")

    def delete_batch(self, batch_id: str) -> None:
        """Deletes all results of a batch."""
        delete_below(self._client, self.bucket, f"{batch_id}/")

    def check(self) -> None:
        """Raises `CloudError` where the bucket cannot be reached."""
        check_bucket(self._client, self.bucket)


def is_cancelled_mark(key: str) -> bool:
    """Whether a key of the output bucket is no result but the note that its batch was cancelled."""
    return key.endswith(f"/{_CANCELLED_NAME}")
