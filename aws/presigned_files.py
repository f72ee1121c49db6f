"""Files that go to machines that are being made: in the state bucket, read through presigned addresses."""

from __future__ import annotations

from typing import Any

from aws.clients import cloud_errors


class PresignedFileStore:
    """Stores, signs for and deletes files.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes) -> None:
        """Stores a file."""
        with cloud_errors(f"storing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def url(self, key: str, valid_seconds: int) -> str:
        """A presigned URL: any holder may read the file for `valid_seconds`."""
        with cloud_errors(f"signing for {key}"):
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=valid_seconds
            )
            return url

    def delete(self, key: str) -> None:
        """Deletes a file; one that is not there is no error."""
        with cloud_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)
