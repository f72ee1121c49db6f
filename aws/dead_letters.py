"""The dead-letter queue: inspect jobs that failed too often, and redrive them.

SQS cannot list a queue: messages must be received, and are hidden from others until they are released.
"""

from __future__ import annotations

from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue, ReceivedJob


class DeadLetters:
    """Count, inspect and redrive dead letters.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def __init__(self, dead_letter_queue: JobQueue, job_queue: JobQueue) -> None:
        self._dead = dead_letter_queue
        self._jobs = job_queue

    def count(self) -> int:
        """The approximate number of dead letters."""
        return self._dead.backlog().total

    def peek(self, limit: int) -> list[ReceivedJob]:
        """Return up to `limit` dead letters and leave them in the queue; `job` is None for a poison message."""
        letters: list[ReceivedJob] = []
        try:
            while len(letters) < limit and (received := self._receive(limit - len(letters))):
                letters += received
        finally:
            self._dead.release([letter.receipt_handle for letter in letters])
        return letters

    def redrive(self, limit: int) -> int:
        """Move up to `limit` dead letters to the job queue, with a new count of deliveries; return how many.

        A job is sent before its dead letter is deleted, so none is lost; poison messages stay.
        """
        sent, kept = 0, []
        try:
            while sent < limit and (received := self._receive(limit - sent)):
                good = [letter for letter in received if letter.job is not None]
                kept += [letter.receipt_handle for letter in received if letter.job is None]
                self._jobs.send(letter.job for letter in good if letter.job is not None)
                self._dead.delete([letter.receipt_handle for letter in good])
                sent += len(good)
        finally:
            self._dead.release(kept)
        return sent

    def _receive(self, at_most: int) -> list[ReceivedJob]:
        return self._dead.receive(min(at_most, MAX_MESSAGES_PER_REQUEST), wait_seconds=0)
