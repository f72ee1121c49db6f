"""The embedded queue itself, in this process: under threads, and beside moto's own."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid

from local_cloud import moto_sqs
from tests.properties import examples
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.own_emulator

ACCOUNT, REGION = "123456789012", "us-east-1"


@pytest.fixture
def backend() -> Iterator[models.SQSBackend]:
    uninstall = moto_sqs.install()
    yield models.SQSBackend(REGION, ACCOUNT)
    uninstall()


# --- threads -------------------------------------------------------------------------------------


def handle_of(message: models.Message) -> str:
    assert message.receipt_handle is not None
    return message.receipt_handle


def test_nothing_is_lost_or_doubled_between_threads(backend: models.SQSBackend) -> None:
    backend.create_queue("q", VisibilityTimeout=600)
    senders, messages_each, receivers = 4, 100, 4
    total = senders * messages_each
    delivered: list[str] = []
    deleted = threading.Semaphore(0)
    done = threading.Event()

    def send(sender: int) -> None:
        for number in range(messages_each):
            backend.send_message("q", f"{sender}-{number}")

    def receive(seed: int) -> None:
        dice = random.Random(seed)
        while not done.is_set():
            for message in backend.receive_message("q", 10, 1, 600):
                # Some are given back first: they must come again, once.
                if message.approximate_receive_count == 1 and dice.random() < 0.2:
                    backend.change_message_visibility("q", handle_of(message), 0)
                else:
                    delivered.append(message.body)
                    backend.delete_message("q", handle_of(message))
                    deleted.release()

    with ThreadPoolExecutor(senders + receivers) as pool:
        work = [pool.submit(send, n) for n in range(senders)] + [pool.submit(receive, n) for n in range(receivers)]
        try:
            for _ in range(total):
                assert deleted.acquire(timeout=PATIENCE_SECONDS)
        finally:
            done.set()
        for future in work:
            future.result()
    assert Counter(delivered) == Counter(f"{s}-{n}" for s in range(senders) for n in range(messages_each))
    assert counts(backend) == (0, 0, 0)


def test_messages_in_flight_are_with_one_receiver_only(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    for number in range(400):
        backend.send_message("q", str(number))

    def receive(_: int) -> list[str]:
        return [message.body for _ in range(10) for message in backend.receive_message("q", 10, 0, 600)]

    with ThreadPoolExecutor(8) as pool:
        bodies = [body for batch in pool.map(receive, range(8)) for body in batch]
    assert Counter(bodies) == Counter(str(number) for number in range(400))
    assert counts(backend) == (0, 400, 0)


def test_every_waiting_receiver_is_woken_by_its_message(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    with ThreadPoolExecutor(10) as pool:
        polls = [pool.submit(backend.receive_message, "q", 1, 600, 600) for _ in range(10)]
        time.sleep(0.2)
        for number in range(10):
            backend.send_message("q", str(number))
        bodies = sorted(poll.result(PATIENCE_SECONDS)[0].body for poll in polls)
        assert bodies == [str(number) for number in range(10)]


def test_every_sleeping_receiver_hears_of_a_timeout_that_began_later(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    with ThreadPoolExecutor(3) as pool:
        impatient = [pool.submit(backend.receive_message, "q", 1, 0.5, 600) for _ in range(2)]  # type: ignore[arg-type]
        time.sleep(0.1)
        patient = pool.submit(backend.receive_message, "q", 1, 600, 600)
        time.sleep(0.1)
        # Under one hold of the lock, so that the sleepers never see the message ready.
        with backend.get_queue("q")._messages_lock:
            backend.send_message("q", "body")
            assert len(backend.receive_message("q", 1, 0, 1)) == 1
        # Waking those that came first would not do: they are gone before the message reappears.
        assert [poll.result() for poll in impatient] == [[], []]
        assert [message.approximate_receive_count for message in patient.result(PATIENCE_SECONDS)] == [2]


def test_queues_that_are_each_others_dead_letter_queue_do_not_deadlock(backend: models.SQSBackend) -> None:
    a, b = backend.create_queue("a"), backend.create_queue("b")
    for queue, other in ((a, b), (b, a)):
        queue.redrive_policy = {"deadLetterTargetArn": other.queue_arn, "maxReceiveCount": 1}
        queue.dead_letter_queue = other
        for number in range(50):
            backend.send_message(queue.name, str(number))
    stop = time.monotonic() + 0.5

    def shuffle(name: str) -> None:
        while time.monotonic() < stop:
            backend.receive_message(name, 10, 0, 0)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(shuffle, name) for name in "abab"]:
            future.result(timeout=PATIENCE_SECONDS)
    assert sum(counts(backend, "a")) + sum(counts(backend, "b")) == 100


# --- details -------------------------------------------------------------------------------------


def test_fifo_queues_keep_motos_class(backend: models.SQSBackend) -> None:
    fifo = backend.create_queue("q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    assert fifo.fifo_queue
    assert not isinstance(fifo, moto_sqs.IndexedQueue)
    assert isinstance(backend.create_queue("q"), moto_sqs.IndexedQueue)
    backend.send_message("q.fifo", "body", group_id="g")
    (message,) = backend.receive_message("q.fifo", 10, 0, 30)
    backend.change_message_visibility("q.fifo", handle_of(message), 60)
    backend.delete_message("q.fifo", handle_of(message))


def test_queues_of_cloudformation_stacks_are_indexed(backend: models.SQSBackend) -> None:
    resource = moto_sqs._MotoQueue.create_from_cloudformation_json("q", {"Properties": {}}, ACCOUNT, REGION)
    models.sqs_backends.reset()
    assert isinstance(resource, moto_sqs.IndexedQueue)


def test_messages_older_than_the_retention_period_are_not_delivered(
    backend: models.SQSBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch.setattr)
    backend.create_queue("q", MessageRetentionPeriod=60)
    backend.send_message("q", "old")
    clock.advance(59)
    backend.send_message("q", "new")
    clock.advance(1)
    assert [message.body for message in backend.receive_message("q", 10, 0, 30)] == ["new"]
    assert counts(backend) == (0, 1, 0)


def test_an_extended_message_outlasts_its_first_timeout(
    backend: models.SQSBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch.setattr)
    backend.create_queue("q")
    backend.send_message("q", "body")
    (message,) = backend.receive_message("q", 1, 0, 5)
    clock.advance(3)
    backend.change_message_visibility("q", handle_of(message), 5)
    clock.advance(4)
    assert counts(backend) == (0, 1, 0)
    clock.advance(1)
    assert counts(backend) == (1, 0, 0)


def test_only_the_attributes_asked_for_are_delivered(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    attributes = {name: {"DataType": "String", "StringValue": name} for name in ("a.1", "a.2", "b")}
    backend.send_message("q", "body", message_attributes=attributes)
    for asked, expected in (([], set()), (["b"], {"b"}), (["a.*"], {"a.1", "a.2"}), (["All"], {"a.1", "a.2", "b"})):
        (message,) = backend.receive_message("q", 1, 0, 0, asked)
        assert set(message.message_attributes) == expected


def test_an_unknown_handle_is_invalid_and_a_deleted_one_is_not(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    backend.send_message("q", "body")
    (message,) = backend.receive_message("q", 1, 0, 30)
    with pytest.raises(ReceiptHandleIsInvalid):
        backend.delete_message("q", "unknown")
    backend.delete_message("q", handle_of(message))
    backend.delete_message("q", handle_of(message))
    with pytest.raises(ReceiptHandleIsInvalid):
        backend.change_message_visibility("q", handle_of(message), 30)


def test_receiving_without_hiding_delivers_each_message_once_a_receive(backend: models.SQSBackend) -> None:
    backend.create_queue("q")
    for number in range(3):
        backend.send_message("q", str(number))
    for _ in range(2):
        assert [message.body for message in backend.receive_message("q", 10, 0, 0)] == ["0", "1", "2"]


# --- beside moto's own queue ---------------------------------------------------------------------


class Clock:
    """A clock that stands still until it is advanced, in place of moto's."""

    def __init__(self, setattr: Callable[[object, str, object], None]) -> None:
        self.now = 1_700_000_000.0
        for module in (models, moto_sqs):
            setattr(module, "unix_time", lambda: self.now)
            setattr(module, "unix_time_millis", lambda: self.now * 1000)

    def advance(self, seconds: float) -> None:
        self.now += seconds


def counts(backend: models.SQSBackend, name: str = "q") -> tuple[int, int, int]:
    """Visible, in flight, delayed."""
    queue = backend.get_queue(name)
    return (
        queue.approximate_number_of_messages,
        queue.approximate_number_of_messages_not_visible,
        queue.approximate_number_of_messages_delayed,
    )


class SameAsMoto(RuleBasedStateMachine):
    """Whatever one thread does, our queue answers as moto's."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock(self.patch.setattr)
        # Deliveries: the handle here, the handle there, until when it holds the message.
        self.deliveries: list[tuple[str, str, float]] = []
        self.sent = 0

    @initialize(max_receive_count=st.integers(1, 3))
    def create(self, max_receive_count: int) -> None:
        self.plain = self.backend(max_receive_count)
        uninstall = moto_sqs.install()
        self.ours = self.backend(max_receive_count)
        uninstall()

    def backend(self, max_receive_count: int) -> models.SQSBackend:
        backend = models.SQSBackend(REGION, ACCOUNT)
        dead = backend.create_queue("dead")
        queue = backend.create_queue("q")
        queue.redrive_policy = {"deadLetterTargetArn": dead.queue_arn, "maxReceiveCount": max_receive_count}
        queue.dead_letter_queue = dead
        return backend

    def teardown(self) -> None:
        self.patch.undo()

    def receive_from_ours(self, name: str, count: int, timeout: int) -> list[models.Message]:
        return moto_sqs._receive_message(self.ours, name, count, 0, timeout)

    @rule(count=st.integers(1, 3), delay=st.sampled_from([None, None, 2, 5]))
    def send(self, count: int, delay: int | None) -> None:
        for _ in range(count):
            self.sent += 1
            for backend in (self.plain, self.ours):
                backend.send_message("q", f"body {self.sent}", delay_seconds=delay)

    @rule(count=st.sampled_from([1, 2, 10]), timeout=st.sampled_from([0, 0, 2, 5]))
    def receive(self, count: int, timeout: int) -> None:
        theirs = self.plain.receive_message("q", count, 0, timeout)
        ours = self.receive_from_ours("q", count, timeout)
        assert [(m.body, m.approximate_receive_count) for m in ours] == [
            (m.body, m.approximate_receive_count) for m in theirs
        ]
        until = self.clock.now + timeout
        self.deliveries += [(handle_of(a), handle_of(b), until) for a, b in zip(ours, theirs, strict=True)]

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ours, theirs, _until = data.draw(st.sampled_from(self.deliveries))
        outcomes = []
        for backend, handle in ((self.ours, ours), (self.plain, theirs)):
            try:
                backend.delete_message("q", handle)
                outcomes.append("deleted")
            except ReceiptHandleIsInvalid:  # it went to the dead-letter queue
                outcomes.append("invalid")
        assert outcomes[0] == outcomes[1]

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), timeout=st.sampled_from([0, 2, 5, 9]))
    def change_visibility(self, data: st.DataObject, timeout: int) -> None:
        delivery = data.draw(st.sampled_from(self.deliveries))
        ours, theirs, _until = delivery
        try:
            moto_sqs._change_message_visibility(self.ours, "q", ours, timeout)
        except ReceiptHandleIsInvalid:
            # moto would let a delivery that is over hide or release the message: see the module.
            live = [m for m in self.plain.get_queue("q")._messages if m.receipt_handle == theirs]
            assert all(message.visible for message in live)
        else:
            self.plain.change_message_visibility("q", theirs, timeout)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.sent % 8 == 7)  # seldom
    @rule()
    def purge(self) -> None:
        self.clock.advance(61)  # SQS allows one a minute
        for backend in (self.plain, self.ours):
            backend.purge_queue("q")

    @invariant()
    def counts_are_the_same(self) -> None:
        # moto's limits of time are open intervals, ours are closed: never ask at the very moment.
        self.clock.advance(0.001)
        if hasattr(self, "ours"):
            for name in ("q", "dead"):
                assert counts(self.ours, name) == counts(self.plain, name)


SameAsMoto.TestCase.settings = settings(
    max_examples=examples(0.4), stateful_step_count=25, phases=set(Phase) - {Phase.explain}
)
test_same_as_moto = SameAsMoto.TestCase
