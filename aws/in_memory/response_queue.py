"""In-memory stand-in for the response queue."""

from __future__ import annotations

import threading

from aws.in_memory.recorder import CallRecorder
from aws.queue import MAX_MESSAGES_PER_REQUEST

# Without a pause, a loop that takes from an empty queue would starve the threads it waits for.
_POLL_SECONDS = 0.02


class InMemoryResponseQueue(CallRecorder):
    """An `aws.response_queue.ResponseQueue` in memory; a poll of an empty queue lasts 0.02 s at most.

    Attributes:
        lines: the answers, oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._pause = threading.Event()

    def check(self) -> None:
        self._record("check")

    def send(self, line: str) -> None:
        self._record("send", line)
        with self._lock:
            self.lines.append(line)

    def take(self, wait_seconds: int) -> list[str]:
        self._record("take", wait_seconds)
        if not self.lines:
            self._pause.wait(min(wait_seconds, _POLL_SECONDS))
        with self._lock:
            taken, self.lines = self.lines[:MAX_MESSAGES_PER_REQUEST], self.lines[MAX_MESSAGES_PER_REQUEST:]
        return taken
