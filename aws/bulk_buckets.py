"""The buckets of bulk runs, which are any buckets: where the photos are, and where the labels go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from aws.clients import cloud_errors
from aws.objects import list_objects
from aws.state import StateStore
from core.errors import ImageTooLargeError


class PhotoSource:
    """The photos of any bucket, where they are.

    Every method raises `CloudError` where S3 fails after botocore's retries, `DeniedError` where it refuses,
    `NotFoundError` where the object or the bucket does not exist.

    Args:
        max_image_bytes: a larger photo is not fetched.
        requester_pays: accept the costs of requests, as buckets of other accounts may require.
    """

    def __init__(
        self, client: Any, bucket: str, max_image_bytes: int = sys.maxsize, *, requester_pays: bool = False
    ) -> None:
        self._client = client
        self.bucket = bucket
        self._max_image_bytes = max_image_bytes
        self._requester_pays = requester_pays

    def get(self, key: str) -> bytes:
        """Fetch a photo's unchanged bytes.

        Raises:
            ImageTooLargeError: it is larger than the limit.
        """
        with cloud_errors("fetching the photo"):
            if self._requester_pays:
                response = self._client.get_object(Bucket=self.bucket, Key=key, RequestPayer="requester")
            else:
                response = self._client.get_object(Bucket=self.bucket, Key=key)
            if response["ContentLength"] > self._max_image_bytes:
                response["Body"].close()
                raise ImageTooLargeError
            body: bytes = response["Body"].read()
        return body

    def list_keys(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """List all keys that begin with `prefix` and come after `start_after`, 1,000 in a request."""
        listing = list_objects(self._client, self.bucket, prefix, start_after, requester_pays=self._requester_pays)
        return (stored.key for stored in listing)


class BulkOutput(StateStore):
    """The bucket of a run's output: plan, parts and tables."""
