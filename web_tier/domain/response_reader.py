"""The reader of the response queue: takes answers from it, so that requests that wait find their results sooner.

Results are read from S3, where they are with or without this queue; a message only says that there is one.  Of several
processes any may take a message: a request that waits in another one finds its result as it does without the queue.
"""

from __future__ import annotations

from typing import Protocol

from core.periodic_task import PeriodicTask, StopSignal
from web_tier.domain.result_waiter import ResultWaiter

WAIT_SECONDS = 5
# Between two polls of an empty queue, and after an error.
PAUSE_SECONDS = 0.5


class Answers(Protocol):
    """The methods used of `aws.response_queue.ResponseQueue`."""

    def take(self, wait_seconds: int) -> list[str]: ...


class ResponseReader:
    """Takes all answers from the response queue, in a thread of its own."""

    def __init__(self, answers: Answers, result_waiter: ResultWaiter) -> None:
        self._answers = answers
        self._result_waiter = result_waiter

    def start(self, stop: StopSignal) -> None:
        """Takes answers until `stop` is set."""
        PeriodicTask("responses", PAUSE_SECONDS, self.round, at_once=True).start(stop)

    def round(self) -> None:
        """Takes answers until the queue is empty.

        Raises:
            CloudError: SQS failed.
        """
        while self._answers.take(WAIT_SECONDS):
            self._result_waiter.look_now()
