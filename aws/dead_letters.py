"""The dead-letter queue: jobs that failed too often, for people to look at and to try again.

SQS cannot list a queue: looking means receiving, and what was received is hidden until it is given back.
"""

from __future__ import annotations

from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue, ReceivedJob


class DeadLetters:
    """Looks at dead letters and sends them back to the job queue.

    Every method raises `CloudError` where SQS fails after botocore's retries.
    """

    def __init__(self, dead_letter_queue: JobQueue, job_queue: JobQueue) -> None:
        self._dead = dead_letter_queue
        self._jobs = job_queue

    def count(self) -> int:
        """About how many there are."""
        return self._dead.backlog().total

    def peek(self, limit: int) -> list[ReceivedJob]:
        """Up to `limit` dead letters; they stay where they are.  One that is no job has None for its job."""
        letters: list[ReceivedJob] = []
        try:
            while len(letters) < limit and (received := self._receive(limit - len(letters))):
                letters += received
        finally:
            self._dead.release([letter.receipt_handle for letter in letters])
        return letters

    def redrive(self, limit: int) -> int:
        """Sends up to `limit` dead letters back to the job queue, with a fresh count of deliveries; returns how many.

        A job is sent before its dead letter is deleted, so none is lost; what is no job stays.
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
