"""The job queue on SQS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aws.clients import cloud_errors
from core.dropped_photos import decode_notification
from core.errors import CloudError, DecodeError
from core.jobs import ClassificationJob

# SQS's limit on entries of a batch request and on messages of one receive.
MAX_MESSAGES_PER_REQUEST = 10
_SEND_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ReceivedJob:
    """One delivery of one job, which may be S3's notification of a dropped photo.

    `job` is None where the message's body is not a job (poison), or asks for nothing (`is_void`), as S3's test event.

    `sent_at` is when it was enqueued, in seconds since the epoch by SQS's clock; None if SQS does not report it.
    `message_id` is the same for each delivery of a message.
    """

    job: ClassificationJob | None
    receipt_handle: str
    receive_count: int
    sent_at: float | None = None
    message_id: str = ""
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """SQS's approximate counts: `visible` jobs wait (delayed ones included), `in_flight` jobs have been received."""

    visible: int
    in_flight: int

    @property
    def total(self) -> int:
        """The number of jobs that are not deleted."""
        return self.visible + self.in_flight


class NamedQueue:
    """A queue, known by its name; SQS is asked for its address when it is first used."""

    def __init__(self, client: Any, queue_name: str) -> None:
        self._client = client
        self._name = queue_name
        self._cached_url: str | None = None

    @property
    def _url(self) -> str:
        if self._cached_url is None:
            with cloud_errors(f"finding the queue {self._name}"):
                self._cached_url = self._client.get_queue_url(QueueName=self._name)["QueueUrl"]
        return self._cached_url


class DeliveryQueue(NamedQueue):
    """Extend, release, delete and count what a queue delivers, whatever the messages are.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def delete(self, receipt_handles: Sequence[str]) -> None:
        """Delete delivered jobs.  A handle that SQS no longer accepts is no error: its job was deleted already."""
        for chunk in chunks(receipt_handles):
            entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(chunk)]
            with cloud_errors("deleting jobs"):
                self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def extend(self, receipt_handles: Sequence[str], visibility_timeout_seconds: int) -> None:
        """Set the visibility timeout of deliveries, counted from now; 0 releases them at once.

        A handle that SQS no longer accepts is ignored: its job was deleted or delivered again.
        """
        for chunk in chunks(receipt_handles):
            entries = [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": visibility_timeout_seconds}
                for index, handle in enumerate(chunk)
            ]
            with cloud_errors("changing the visibility of jobs"):
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def release(self, receipt_handles: Sequence[str]) -> None:
        """Release deliveries, so that other workers can receive them at once."""
        self.extend(receipt_handles, 0)

    def backlog(self) -> Backlog:
        """Count the jobs that wait and that are in flight; approximate, and up to a minute old on AWS."""
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        with cloud_errors("counting jobs"):
            response = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        visible, delayed, in_flight = (int(response["Attributes"][name]) for name in names)
        return Backlog(visible=visible + delayed, in_flight=in_flight)


class JobQueue(DeliveryQueue):
    """Send, receive, extend, release, delete and count jobs.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def send(self, jobs: Iterable[ClassificationJob]) -> int:
        """Enqueue `jobs`, ten in a request; return how many.

        Single entries that SQS refuses are sent again; each entry is sent at most three times.
        """
        count = 0
        for chunk in chunks(jobs):
            bodies = [job.encode() for job in chunk]
            for _attempt in range(_SEND_ATTEMPTS):
                entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
                with cloud_errors("enqueueing jobs"):
                    response = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
                bodies = [bodies[int(entry["Id"])] for entry in response.get("Failed", [])]
                if not bodies:
                    break
            else:
                raise CloudError(f"enqueueing jobs failed: SQS refused {len(bodies)} of them {_SEND_ATTEMPTS} times")
            count += len(chunk)
        return count

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        """Receive up to `max_jobs` (at most ten) jobs, waiting up to `wait_seconds` for the first one."""
        with cloud_errors("receiving jobs"):
            response = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(max_jobs, MAX_MESSAGES_PER_REQUEST),
                WaitTimeSeconds=wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        return [_received(message, message.get("Attributes", {})) for message in response.get("Messages", [])]


def _received(message: Mapping[str, str], attributes: Mapping[str, str]) -> ReceivedJob:
    sent_milliseconds = attributes.get("SentTimestamp")
    job, is_void = decode_message(message["Body"])
    return ReceivedJob(
        job=job,
        receipt_handle=message["ReceiptHandle"],
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        sent_at=None if sent_milliseconds is None else int(sent_milliseconds) / 1000,
        message_id=message["MessageId"],
        is_void=is_void,
    )


def decode_message(body: str) -> tuple[ClassificationJob | None, bool]:
    """The job in a message, in either encoding, and whether the message asks for nothing."""
    try:
        return ClassificationJob.decode(body), False
    except DecodeError:
        pass
    try:
        job = decode_notification(body)
    except DecodeError:
        return None, False
    return job, job is None


def chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Divide items into lists of as many as a request to SQS may have."""
    iterator = iter(items)
    while chunk := list(islice(iterator, MAX_MESSAGES_PER_REQUEST)):
        yield chunk
