"""Patch moto's SQS: standard queues whose costs do not grow with the backlog, and that are thread-safe.

moto keeps the messages of a queue in one list: sending counts it several times, receiving, deleting and changing a
visibility scan it, and a delete rebuilds it while another request may be appending, which loses that message.
`install` gives standard queues an index instead; FIFO queues keep moto's class.

Where moto is more lenient than SQS, this follows SQS: the visibility of a message can be changed only while it is in
flight, and only with the handle of its latest delivery.  Otherwise a late worker could release a message that another
worker has received since.
"""

from __future__ import annotations

import copy
import enum
import heapq
import itertools
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.core.utils import unix_time, unix_time_millis
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid

_MotoQueue = models.Queue
_moto_receive_message = models.SQSBackend.receive_message
_moto_change_message_visibility = models.SQSBackend.change_message_visibility
_moto_generate_receipt_handle = models.generate_receipt_handle  # type: ignore[attr-defined]


class _State(enum.Enum):
    READY = enum.auto()
    IN_FLIGHT = enum.auto()
    DELAYED = enum.auto()
    GONE = enum.auto()


@dataclass(slots=True, eq=False)
class _Entry:
    """A message with its sequence number and the time until which it is hidden (Unix time, milliseconds)."""

    message: models.Message
    sequence: int
    state: _State = _State.READY
    hidden_until: float = 0.0


class MessageIndex:
    """The messages of a queue: the next ready one, one by receipt handle, and counts, each in O(log n) or better.

    `_ready` is a heap by order of arrival, `_hidden` one by the time of reappearance.  Stale heap items are not
    removed when an entry changes: they are skipped when popped, by the entry's own state.

    Not thread-safe: `IndexedQueue` holds its lock around every call.
    """

    def __init__(self) -> None:
        self._sequence = itertools.count()
        self._live: dict[int, _Entry] = {}
        self._by_handle: dict[str, _Entry] = {}
        self._ready: list[tuple[int, _Entry]] = []
        self._hidden: list[tuple[float, int, _Entry]] = []
        self._counts = dict.fromkeys(_State, 0)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[models.Message]:
        """All messages in order of arrival."""
        return (entry.message for entry in self._live.values())

    def append(self, message: models.Message) -> None:
        """Adds a message: hidden if it is delayed, else ready."""
        entry = _Entry(message, next(self._sequence))
        self._live[entry.sequence] = entry
        self._counts[entry.state] += 1
        # A message that is moved from a source queue to its dead-letter queue has handles already.
        for handle in message.all_receipt_handles:
            if handle is not None:
                self._by_handle[handle] = entry
        if message.delayed_until > unix_time_millis():
            self._hide(entry, _State.DELAYED, message.delayed_until)
        else:
            self._show(entry)

    def pop_ready(self) -> _Entry | None:
        """Removes the oldest ready message from the heap; the caller must hide, show or remove it."""
        self._settle()
        while self._ready:
            _sequence, entry = heapq.heappop(self._ready)
            if entry.state is _State.READY:
                return entry
        return None

    def deliver(self, entry: _Entry, visibility_timeout_seconds: int) -> models.Message:
        """Hides a popped message (not for a timeout of 0) and returns a snapshot of it with a new handle."""
        entry.message.mark_received(visibility_timeout=visibility_timeout_seconds)
        assert entry.message.receipt_handle is not None
        self._by_handle[entry.message.receipt_handle] = entry
        if visibility_timeout_seconds:
            self._hide(entry, _State.IN_FLIGHT, entry.message.visible_at)
        # A shallow copy suffices: the values of a message's attributes are never modified.
        return copy.copy(entry.message)

    def show(self, entries: list[_Entry]) -> None:
        """Makes messages ready."""
        for entry in entries:
            self._show(entry)

    def change_visibility(self, receipt_handle: str, visibility_timeout_seconds: int) -> bool:
        """Hides a message in flight for `visibility_timeout_seconds` from now; False if the handle is not valid."""
        self._settle()
        entry = self._by_handle.get(receipt_handle)
        if entry is None or entry.state is not _State.IN_FLIGHT or entry.message.receipt_handle != receipt_handle:
            return False
        entry.message.change_visibility(visibility_timeout_seconds)
        if visibility_timeout_seconds:
            self._hide(entry, _State.IN_FLIGHT, entry.message.visible_at)
        else:
            self._show(entry)
        return True

    def find(self, receipt_handle: str) -> _Entry | None:
        """The message that was once delivered with this handle."""
        return self._by_handle.get(receipt_handle)

    def remove(self, entry: _Entry) -> None:
        """Removes a message and its handles."""
        self._enter(entry, _State.GONE)
        del self._live[entry.sequence]
        for handle in entry.message.all_receipt_handles:
            self._by_handle.pop(handle or "", None)

    def count(self, state: _State) -> int:
        """The number of messages in `state` now."""
        self._settle()
        return self._counts[state]

    def next_reappearance(self) -> float:
        """A lower bound of the next reappearance (Unix time, milliseconds); infinite if no message is hidden."""
        return self._hidden[0][0] if self._hidden else math.inf

    def _settle(self) -> None:
        """Makes hidden messages ready whose timeout has passed."""
        now = unix_time_millis()
        while self._hidden and self._hidden[0][0] <= now:
            hidden_until, _sequence, entry = heapq.heappop(self._hidden)
            if entry.state in (_State.IN_FLIGHT, _State.DELAYED) and entry.hidden_until == hidden_until:
                self._show(entry)

    def _hide(self, entry: _Entry, state: _State, until: float) -> None:
        self._enter(entry, state)
        entry.hidden_until = until
        heapq.heappush(self._hidden, (until, entry.sequence, entry))

    def _show(self, entry: _Entry) -> None:
        self._enter(entry, _State.READY)
        heapq.heappush(self._ready, (entry.sequence, entry))

    def _enter(self, entry: _Entry, state: _State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state


class IndexedQueue(models.Queue):
    """A standard queue on a `MessageIndex`."""

    def __new__(cls, name: str, region: str, account_id: str, **attributes: Any) -> Any:
        """Returns moto's own class for a FIFO queue; Python then does not initialize it a second time."""
        if str(attributes.get("FifoQueue")).lower() == "true":
            return _MotoQueue(name, region, account_id, **attributes)  # type: ignore[abstract]
        return super().__new__(cls, name, region, account_id, **attributes)

    @property  # type: ignore[override]
    def _messages(self) -> MessageIndex:
        return self._index

    @_messages.setter
    def _messages(self, _empty: list[models.Message]) -> None:
        # moto assigns an empty list when it creates and when it purges a queue.
        self._index = MessageIndex()

    @property
    def approximate_number_of_messages(self) -> int:
        return self._count(_State.READY)

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        return self._count(_State.IN_FLIGHT)

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        return self._count(_State.DELAYED)

    def _count(self, state: _State) -> int:
        with self._messages_lock:
            return self._messages.count(state)

    def add_message(self, message: models.Message) -> None:
        """Enqueues a message and wakes a waiting receiver."""
        if self.lambda_event_source_mappings:
            super().add_message(message)  # which calls the functions, too
            return
        with self._changing() as messages:
            messages.append(message)

    def receive(self, count: int, wait_seconds: float, visibility_timeout_seconds: int) -> list[models.Message]:
        """Receives up to `count` messages; waits up to `wait_seconds` for the first one to arrive or to reappear."""
        deadline = unix_time() + wait_seconds
        while True:
            with self._changing() as messages:
                received, dead = self._take(messages, count, visibility_timeout_seconds)
            # Without the lock: two queues may be each other's dead-letter queue.
            for message in dead:
                self.dead_letter_queue.add_message(message)  # type: ignore[union-attr]
            if received or unix_time() >= deadline:
                return received
            self._wait(deadline)

    def _wait(self, deadline: float) -> None:
        """Sleeps until a message is ready, or until `deadline` (Unix time, seconds); may wake earlier."""
        with self._messages_lock:
            if not self._messages.count(_State.READY):
                until = min(deadline, self._messages.next_reappearance() / 1000)
                self._messages_lock.wait(max(0.0, until - unix_time()))

    def _take(
        self, messages: MessageIndex, count: int, visibility_timeout_seconds: int
    ) -> tuple[list[models.Message], list[models.Message]]:
        """Delivers up to `count` ready messages; returns them, and those that exceeded the maximum receive count."""
        redrive = self.redrive_policy if self.dead_letter_queue is not None else None
        max_receive_count = redrive["maxReceiveCount"] if redrive else math.inf
        oldest_kept = unix_time_millis() - self.message_retention_period * 1000  # type: ignore[attr-defined]
        received: list[models.Message] = []
        dead: list[models.Message] = []
        still_ready: list[_Entry] = []
        while len(received) < count and (entry := messages.pop_ready()):
            message = entry.message
            if message.sent_timestamp <= oldest_kept:
                messages.remove(entry)
            elif message.approximate_receive_count >= max_receive_count:
                messages.remove(entry)
                dead.append(message)
            else:
                received.append(messages.deliver(entry, visibility_timeout_seconds))
                if not visibility_timeout_seconds:
                    still_ready.append(entry)
        # Only now: otherwise this receive would deliver them again.
        messages.show(still_ready)
        return received, dead

    def delete_message(self, receipt_handle: str) -> None:
        """Deletes the message that was once delivered with this handle; no error if it is deleted already.

        Raises:
            ReceiptHandleIsInvalid: no message ever had this handle.
        """
        with self._changing() as messages:
            if receipt_handle in self.deleted_messages:
                return
            entry = messages.find(receipt_handle)
            if entry is None:
                raise ReceiptHandleIsInvalid()
            self.deleted_messages.update(handle for handle in entry.message.all_receipt_handles if handle)
            messages.remove(entry)

    def change_visibility(self, receipt_handle: str, visibility_timeout_seconds: int) -> None:
        """Hides a message in flight for `visibility_timeout_seconds` from now; 0 releases it.

        Raises:
            ReceiptHandleIsInvalid: the handle is not that of a message's latest delivery, or has expired.
        """
        with self._changing() as messages:
            if not messages.change_visibility(receipt_handle, visibility_timeout_seconds):
                raise ReceiptHandleIsInvalid()

    @contextmanager
    def _changing(self) -> Iterator[MessageIndex]:
        """Holds the lock around a change, then wakes the receivers that it affects."""
        with self._messages_lock:
            before = self._messages.next_reappearance()
            yield self._messages
            if self._messages.next_reappearance() < before:
                self._messages_lock.notify_all()  # all receivers sleep until a later time
            else:
                self._messages_lock.notify(self._messages.count(_State.READY))


def _receive_message(
    self: models.SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[models.Message]:
    queue = self.get_queue(queue_name)
    if not isinstance(queue, IndexedQueue):
        return _moto_receive_message(
            self, queue_name, count, wait_seconds_timeout, visibility_timeout, message_attribute_names
        )
    received = queue.receive(count, wait_seconds_timeout, int(visibility_timeout))
    for message in received:
        models._filter_message_attributes(message, message_attribute_names or [])
    return received


def _change_message_visibility(
    self: models.SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    queue = self.get_queue(queue_name)
    if isinstance(queue, IndexedQueue):
        queue.change_visibility(receipt_handle, int(visibility_timeout))
    else:
        _moto_change_message_visibility(self, queue_name, receipt_handle, visibility_timeout)


def _generate_receipt_handle() -> str:
    """Makes a receipt handle; moto's own function draws 185 letters one by one, a quarter of a receive's time."""
    return secrets.token_urlsafe(48)


def install() -> Callable[[], None]:
    """Installs the patches: new standard queues are `IndexedQueue`; returns a function that removes the patches.

    `SQSBackend.create_queue`, which CloudFormation uses, too, looks the class up by its name.
    """
    models.Queue = IndexedQueue  # type: ignore[misc]
    models.SQSBackend.receive_message = _receive_message  # type: ignore[method-assign]
    models.SQSBackend.change_message_visibility = _change_message_visibility  # type: ignore[method-assign]
    models.generate_receipt_handle = _generate_receipt_handle  # type: ignore[attr-defined]
    return _uninstall


def _uninstall() -> None:
    models.Queue = _MotoQueue  # type: ignore[misc]
    models.SQSBackend.receive_message = _moto_receive_message  # type: ignore[method-assign]
    models.SQSBackend.change_message_visibility = _moto_change_message_visibility  # type: ignore[method-assign]
    models.generate_receipt_handle = _moto_generate_receipt_handle  # type: ignore[attr-defined]
