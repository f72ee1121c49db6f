"""The dead-letter queue: inspect jobs that failed too often, redrive and delete them.

SQS cannot list a queue: messages must be received, and are hidden from others until they are released.
"""

from __future__ import annotations

from collections.abc import Callable

from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue, ReceivedJob

# With a long poll, however short, SQS asks all of its servers; with a short poll some of them, so that the response may
# be empty although there are letters.
WAIT_SECONDS = 1
# So many responses without a new letter end a pass where fewer were received than SQS counts.
_EMPTY_RESPONSES = 3


class DeadLetters:
    """Count, inspect, redrive and delete dead letters.

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
        looking, letters = _Pass(self._dead), dict[str, ReceivedJob]()
        try:
            while len(letters) < limit and (received := looking.receive(limit - len(letters))):
                letters |= {letter.message_id: letter for letter in received}
        finally:
            self._dead.release([letter.receipt_handle for letter in letters.values()])
        return list(letters.values())

    def redrive(self, limit: int) -> int:
        """Move up to `limit` dead letters to the job queue, with a new count of deliveries; return how many.

        A job is sent before its dead letter is deleted, so none is lost; poison messages stay.
        """
        return self._remove(limit, lambda letter: letter.job is not None, self._send)

    def delete(self, limit: int, chosen: Callable[[ReceivedJob], bool]) -> int:
        """Delete up to `limit` of the dead letters for which `chosen` returns True; return how many."""
        return self._remove(limit, chosen, lambda _letters: None)

    def _remove(
        self, limit: int, chosen: Callable[[ReceivedJob], bool], before: Callable[[list[ReceivedJob]], None]
    ) -> int:
        looking, removed, kept = _Pass(self._dead), 0, dict[str, str]()
        try:
            while removed < limit and (received := looking.receive(limit - removed)):
                kept |= {letter.message_id: letter.receipt_handle for letter in received}
                leaving = [letter for letter in received if chosen(letter)]
                before(leaving)
                self._dead.delete([letter.receipt_handle for letter in leaving])
                for letter in leaving:
                    del kept[letter.message_id]
                removed += len(leaving)
        finally:
            self._dead.release(list(kept.values()))
        return removed

    def _send(self, letters: list[ReceivedJob]) -> None:
        self._jobs.send(letter.job for letter in letters if letter.job is not None)


class _Pass:
    """One pass through a queue of dead letters."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._expected = queue.backlog().total
        self._seen: set[str] = set()
        self._empty_responses = 0

    def receive(self, at_most: int) -> list[ReceivedJob]:
        """Receive the next letters; none after all have been received, as far as SQS reports.

        A letter that is kept for longer than the queue's visibility timeout comes again, with another handle.
        """
        while self._empty_responses < _EMPTY_RESPONSES:
            received = self._queue.receive(min(at_most, MAX_MESSAGES_PER_REQUEST), WAIT_SECONDS)
            new = {letter.message_id for letter in received} - self._seen
            self._seen |= new
            if new:
                self._empty_responses = 0
            elif len(self._seen) >= self._expected:
                self._empty_responses = _EMPTY_RESPONSES
            else:
                self._empty_responses += 1
            if received:
                return received
        return []
