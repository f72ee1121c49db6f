"""The response queue on SQS: results as messages, for the web tier and for graders who watch the queue."""

from __future__ import annotations

from aws.clients import cloud_errors
from aws.queue import MAX_MESSAGES_PER_REQUEST, NamedQueue


class ResponseQueue(NamedQueue):
    """Send the answers of images, and take them from the queue.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def check(self) -> None:
        """Check that the queue exists; raises `NotFoundError` if not."""
        self._url  # noqa: B018 - its first use looks for the queue

    def send(self, line: str) -> None:
        """Send one answer."""
        with cloud_errors("sending an answer"):
            self._client.send_message(QueueUrl=self._url, MessageBody=line)

    def take(self, wait_seconds: int) -> list[str]:
        """Take up to ten answers from the queue, waiting up to `wait_seconds` for the first."""
        with cloud_errors("receiving answers"):
            messages = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MAX_MESSAGES_PER_REQUEST,
                WaitTimeSeconds=wait_seconds,
            ).get("Messages", [])
        if messages:
            entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
            with cloud_errors("deleting answers"):
                self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return [message["Body"] for message in messages]
