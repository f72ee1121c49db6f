"""The queue of bulk jobs on SQS, beside the job queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aws.clients import cloud_errors
from aws.queue import MAX_MESSAGES_PER_REQUEST, DeliveryQueue
from core.bulk_run import BulkJob
from core.errors import CloudError, DecodeError

# SQS's limit on the messages of one request together; a queue may allow more, which not every one does.
MAX_REQUEST_BYTES = 256 * 1024
_SEND_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ReceivedBulkJob:
    """One delivery of a bulk job; `job` is None where the message's body is none (poison)."""

    job: BulkJob | None
    receipt_handle: str
    receive_count: int


class BulkQueue(DeliveryQueue):
    """Send, receive, extend, release, delete and count bulk jobs.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def send(self, jobs: Iterable[BulkJob]) -> int:
        """Enqueue `jobs`, as many in a request as SQS allows; return how many.

        Single entries that SQS refuses are sent again; each entry is sent at most three times.
        """
        count = 0
        for bodies in request_sized(job.encode() for job in jobs):
            count += len(bodies)
            for _attempt in range(_SEND_ATTEMPTS):
                entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
                with cloud_errors("enqueueing bulk jobs"):
                    response = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
                bodies = [bodies[int(entry["Id"])] for entry in response.get("Failed", [])]
                if not bodies:
                    break
            else:
                raise CloudError(f"enqueueing bulk jobs failed: SQS refused {len(bodies)} of them")
        return count

    def receive(self, wait_seconds: int) -> ReceivedBulkJob | None:
        """Receive one job, waiting up to `wait_seconds` for it."""
        with cloud_errors("receiving bulk jobs"):
            response = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return next((_received(message) for message in response.get("Messages", [])), None)


def decode_bulk_job(body: str) -> BulkJob | None:
    """The job in a message; None if it is none."""
    try:
        return BulkJob.decode(body)
    except DecodeError:
        return None


def request_sized(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Divide messages into lists that one request to SQS may have."""
    chunk: list[str] = []
    size_bytes = 0
    for body in bodies:
        body_bytes = len(body.encode())
        if chunk and (len(chunk) == MAX_MESSAGES_PER_REQUEST or size_bytes + body_bytes > MAX_REQUEST_BYTES):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(body)
        size_bytes += body_bytes
    if chunk:
        yield chunk


def _received(message: Mapping[str, str]) -> ReceivedBulkJob:
    attributes: Mapping[str, str] = message.get("Attributes", {})  # type: ignore[assignment]
    return ReceivedBulkJob(
        decode_bulk_job(message["Body"]), message["ReceiptHandle"], int(attributes.get("ApproximateReceiveCount", 1))
    )
