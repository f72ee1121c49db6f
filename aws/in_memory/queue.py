"""In-memory stand-in for the job queue."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aws.in_memory.clock import ManualClock
from aws.in_memory.recorder import CallRecorder
from aws.queue import MAX_MESSAGES_PER_REQUEST, Backlog, ReceivedJob, decode_message
from core.jobs import ClassificationJob

# Without a pause, a loop that receives from an empty queue would starve the threads it waits for.
_SHORTEST_POLL_SECONDS = 0.001
_LONGEST_POLL_SECONDS = 0.02
_SPARE_ENTRIES = 64


@dataclass(slots=True)
class Message:
    """A message that has not been deleted."""

    body: str
    number: int
    sent_at_seconds: float
    visible_at_seconds: float
    receive_count: int = 0
    receipt_handle: str = ""
    is_visible: bool = False


class InMemoryJobQueue(CallRecorder):
    """An `aws.queue.JobQueue` in memory: at-least-once, with a visibility timeout and dead letters.

    Delivers the oldest messages first; an operation takes time logarithmic in the number of messages.  A poll of an
    empty queue lasts 0.02 s at most, whatever `wait_seconds`.

    Args:
        clock: seconds; decides when a received job becomes visible again.
        visibility_timeout_seconds: how long a delivery hides its job.
        max_receive_count: deliveries after which a job moves to `dead_letters`.
        keep_calls: whether `calls` grows with every call.

    Attributes:
        visibility_timeout_seconds: how long a future delivery hides its job.
        dead_letters: the bodies of jobs that were delivered too often.
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        visibility_timeout_seconds: float = 30.0,
        max_receive_count: int = 5,
        *,
        keep_calls: bool = True,
    ) -> None:
        super().__init__(keep_calls=keep_calls)
        self.visibility_timeout_seconds = visibility_timeout_seconds
        self.dead_letters: list[str] = []
        self._clock = clock or ManualClock()
        self._max_receive_count = max_receive_count
        self._messages: dict[int, Message] = {}
        # Numbers of visible messages, and (moment, number) of hidden ones; outdated entries are skipped.
        self._visible: list[int] = []
        self._hidden: list[tuple[float, int]] = []
        self._visible_count = 0
        self._numbers = itertools.count(1)
        self._arrived = threading.Condition(self._lock)

    @property
    def messages(self) -> list[Message]:
        """The messages that are not deleted, oldest first, for tests."""
        with self._lock:
            return list(self._messages.values())

    @property
    def jobs(self) -> list[ClassificationJob]:
        """The jobs that are not deleted, oldest first, without poison messages."""
        found = [decode_message(message.body)[0] for message in self.messages]
        return [job for job in found if job is not None]

    def put_body(self, body: str) -> None:
        """Enqueue a message with any body, such as a poison message."""
        with self._lock:
            now = self._clock()
            message = Message(body, next(self._numbers), now, now)
            self._messages[message.number] = message
            self._show(message)

    def purge(self) -> None:
        """Delete all messages."""
        with self._lock:
            self._messages.clear()
            self._visible_count = 0

    def send(self, jobs: Iterable[ClassificationJob]) -> int:
        count = 0
        iterator = iter(jobs)
        while chunk := list(itertools.islice(iterator, MAX_MESSAGES_PER_REQUEST)):
            self._record("send", chunk)
            for job in chunk:
                self.put_body(job.encode())
            count += len(chunk)
        return count

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        return [_received(message) for message in self._receive(max_jobs, wait_seconds)]

    def _receive(self, max_jobs: int, wait_seconds: int) -> list[Message]:
        self._record("receive", max_jobs)
        with self._lock:
            chosen = self._deliver(min(max_jobs, MAX_MESSAGES_PER_REQUEST))
            if not chosen:
                self._arrived.wait(min(max(wait_seconds, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS))
                if wait_seconds:
                    chosen = self._deliver(min(max_jobs, MAX_MESSAGES_PER_REQUEST))
            return [dataclasses.replace(message) for message in chosen]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        self._record("delete", list(receipt_handles))
        with self._lock:
            for handle in receipt_handles:
                # SQS also deletes by the handle of an earlier delivery, as long as the message exists.
                number, _, _count = handle.partition("#")
                message = self._messages.pop(int(number), None) if number.isdecimal() else None
                if message is not None:
                    self._visible_count -= message.is_visible

    def extend(self, receipt_handles: Sequence[str], visibility_timeout_seconds: int) -> None:
        self._record("extend", list(receipt_handles))
        self._hide(receipt_handles, visibility_timeout_seconds)

    def release(self, receipt_handles: Sequence[str]) -> None:
        self._record("release", list(receipt_handles))
        self._hide(receipt_handles, 0)

    def backlog(self) -> Backlog:
        self._record("backlog")
        with self._lock:
            self._end_timeouts()
            return Backlog(visible=self._visible_count, in_flight=len(self._messages) - self._visible_count)

    def _deliver(self, count: int) -> list[Message]:
        """Hide the oldest `count` visible messages and return them."""
        self._end_timeouts()
        chosen: list[Message] = []
        while self._visible and len(chosen) < count:
            message = self._messages.get(heapq.heappop(self._visible))
            if message is not None and message.is_visible:
                message.receive_count += 1
                message.receipt_handle = f"{message.number}#{message.receive_count}"
                message.is_visible = False
                self._visible_count -= 1
                self._hide_until(message, self._clock() + self.visibility_timeout_seconds)
                chosen.append(message)
        return chosen

    def _hide(self, receipt_handles: Sequence[str], seconds: float) -> None:
        with self._lock:
            self._end_timeouts()
            for handle in receipt_handles:
                number, _, _count = handle.partition("#")
                message = self._messages.get(int(number)) if number.isdecimal() else None
                # Only the latest delivery can be extended, and only until its timeout ends.
                if message is not None and message.receipt_handle == handle and not message.is_visible:
                    self._hide_until(message, self._clock() + seconds)
            self._end_timeouts()

    def _hide_until(self, message: Message, moment_seconds: float) -> None:
        message.visible_at_seconds = moment_seconds
        heapq.heappush(self._hidden, (moment_seconds, message.number))
        if len(self._hidden) > 2 * len(self._messages) + _SPARE_ENTRIES:
            # Most entries belong to deleted messages, and would otherwise stay until their timeouts end.
            hidden = (m for m in self._messages.values() if not m.is_visible)
            self._hidden = [(m.visible_at_seconds, m.number) for m in hidden]
            heapq.heapify(self._hidden)

    def _end_timeouts(self) -> None:
        """Make messages visible whose timeout has ended, or move them to the dead letters."""
        now = self._clock()
        while self._hidden and self._hidden[0][0] <= now:
            moment, number = heapq.heappop(self._hidden)
            message = self._messages.get(number)
            if message is None or message.is_visible or message.visible_at_seconds != moment:
                continue
            if message.receive_count >= self._max_receive_count:
                self.dead_letters.append(message.body)
                del self._messages[number]
            else:
                self._show(message)

    def _show(self, message: Message) -> None:
        message.is_visible = True
        self._visible_count += 1
        heapq.heappush(self._visible, message.number)
        self._arrived.notify_all()


def _received(message: Message) -> ReceivedJob:
    job, is_void = decode_message(message.body)
    return ReceivedJob(
        job, message.receipt_handle, message.receive_count, message.sent_at_seconds, str(message.number), is_void
    )
