"""Files for builders and new instances: stored in the state bucket, and read through presigned URLs."""

from __future__ import annotations

from typing import Any

from aws.clients import cloud_errors


class PresignedFileStore:
    """Store and delete files, and sign URLs for them.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, body: bytes) -> None:
        """Store a file."""
        with cloud_errors(f"storing {key}"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)

    def url(self, key: str, valid_seconds: int) -> str:
        """Presign a URL, whose holder may read the file for `valid_seconds`."""
        with cloud_errors(f"signing for {key}"):
            url: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=valid_seconds
            )
            return url

    def delete(self, key: str) -> None:
        """Delete a file; one that does not exist is no error."""
        with cloud_errors(f"deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)
