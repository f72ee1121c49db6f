"""The job queue, on the embedded SQS and in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from aws.clients import Clients
from aws.queue import Backlog, JobQueue, ReceivedJob
from core.errors import NotFoundError
from core.jobs import ClassificationJob, image_key, new_batch_id, new_job_id
from core.settings import Settings
from tests.contract.conftest import MAX_RECEIVE_COUNT, take
from tests.contract.endpoint import RUN, Endpoint
from tests.waiting import wait_until

BATCH_ID = new_batch_id(datetime(2026, 3, 1, tzinfo=UTC))


def jobs(count: int) -> list[ClassificationJob]:
    return [
        ClassificationJob(
            new_job_id(), BATCH_ID, "input", image_key(BATCH_ID, position, "a.jpg"), f"Kätzchen {position}"
        )
        for position in range(count)
    ]


def assert_counts(queue: JobQueue, visible: int, in_flight: int) -> None:
    """SQS's counts are right in the end; those of the emulator and in memory at once."""
    wait_until(
        lambda: queue.backlog() == Backlog(visible, in_flight), f"never {visible} visible, {in_flight} in flight"
    )


def test_what_is_sent_is_received_once(queue: JobQueue) -> None:
    sent = jobs(23)
    assert queue.send(iter(sent)) == 23
    received = take(queue, 23)
    assert sorted(delivery.job.job_id for delivery in received if delivery.job) == sorted(job.job_id for job in sent)
    assert {delivery.job for delivery in received} == set(sent)
    assert {delivery.receive_count for delivery in received} == {1}
    assert queue.receive(10, 0) == []


def test_backlog_counts_waiting_and_in_flight(queue: JobQueue) -> None:
    assert_counts(queue, 0, 0)
    queue.send(jobs(12))
    assert_counts(queue, 12, 0)
    received = take(queue, 5)
    assert_counts(queue, 7, 5)
    queue.release([received[0].receipt_handle])
    assert_counts(queue, 8, 4)
    queue.delete([delivery.receipt_handle for delivery in received[1:]])
    assert_counts(queue, 8, 0)


def test_backlog_counts_delayed_messages_as_waiting(
    clients: Clients, settings: Settings, embedded_queue: JobQueue
) -> None:
    queue = embedded_queue
    url = clients["sqs"].get_queue_url(QueueName=settings.queue_name)["QueueUrl"]
    clients["sqs"].send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    assert_counts(queue, 1, 0)
    assert queue.receive(10, 0) == []


def test_deleting_is_final_and_repeatable(queue: JobQueue) -> None:
    queue.send(jobs(15))
    handles = [delivery.receipt_handle for delivery in take(queue, 15)]
    queue.delete(handles)
    queue.delete(handles)
    queue.delete(["never-heard-of"])
    queue.delete([])
    assert_counts(queue, 0, 0)


def test_released_jobs_come_again_with_a_higher_count(queue: JobQueue) -> None:
    queue.send(jobs(1))
    first = take(queue, 1)[0]
    assert queue.receive(1, 0) == []
    queue.release([first.receipt_handle])
    second = take(queue, 1)[0]
    assert (second.job, second.receive_count) == (first.job, 2)
    assert second.receipt_handle != first.receipt_handle


def test_the_handle_of_an_earlier_delivery_still_deletes(queue: JobQueue) -> None:
    queue.send(jobs(1))
    first = take(queue, 1)[0]
    queue.release([first.receipt_handle])
    take(queue, 1)
    queue.delete([first.receipt_handle])
    assert_counts(queue, 0, 0)


def test_the_handle_of_an_earlier_delivery_cannot_give_the_job_away(queue: JobQueue) -> None:
    queue.send(jobs(1))
    first = take(queue, 1)[0]
    queue.release([first.receipt_handle])
    take(queue, 1)
    queue.release([first.receipt_handle])
    assert queue.receive(1, 0) == []


def test_an_extended_job_stays_hidden_and_an_expired_one_returns(queue: JobQueue) -> None:
    queue.send(jobs(2))
    extended, expiring = take(queue, 2)
    queue.extend([extended.receipt_handle, expiring.receipt_handle], 1)
    queue.extend([extended.receipt_handle], 60)
    again: list[ReceivedJob] = []
    wait_until(lambda: bool(again.extend(queue.receive(10, 5)) or again), "the expired one never returned")
    assert [delivery.job for delivery in again] == [expiring.job]
    assert queue.receive(10, 0) == []


@pytest.mark.parametrize("body", ["not JSON", "{}", "[1]", '{"v": 99}', "null"])
def test_poison_is_delivered_without_a_job(queue: JobQueue, send_body: Callable[[str], None], body: str) -> None:
    send_body(body)
    (poison,) = take(queue, 1)
    assert poison.job is None
    queue.delete([poison.receipt_handle])
    assert_counts(queue, 0, 0)


def test_a_job_that_fails_too_often_becomes_a_dead_letter(
    queue: JobQueue, dead_letters: Callable[[], list[ClassificationJob]]
) -> None:
    (job,) = jobs(1)
    queue.send([job])
    for delivery_number in range(1, MAX_RECEIVE_COUNT + 1):
        (delivery,) = take(queue, 1)
        assert delivery.receive_count == delivery_number
        queue.release([delivery.receipt_handle])
    assert queue.receive(1, 0) == []
    assert_counts(queue, 0, 0)
    assert dead_letters() == [job]


def test_a_delivery_says_when_its_job_was_sent(queue: JobQueue) -> None:
    before = time.time()
    queue.send(jobs(1))
    after = time.time()
    (delivery,) = take(queue, 1)
    # SQS counts milliseconds.
    assert delivery.sent_at is not None and before - 0.001 <= delivery.sent_at <= after


def test_an_unknown_queue_is_an_error(clients: Clients) -> None:
    with pytest.raises(NotFoundError):
        JobQueue(clients["sqs"], f"absent-{RUN}").backlog()


def test_purging_empties_the_queue(clients: Clients, settings: Settings, embedded_queue: JobQueue) -> None:
    embedded_queue.send(jobs(12))
    take(embedded_queue, 3)
    url = clients["sqs"].get_queue_url(QueueName=settings.queue_name)["QueueUrl"]
    clients["sqs"].purge_queue(QueueUrl=url)
    assert_counts(embedded_queue, 0, 0)
    embedded_queue.send(jobs(1))
    take(embedded_queue, 1)


# --- long polls ----------------------------------------------------------------------------------


# SQS's longest.  A poll that comes back sooner was woken up; how soon is no test's concern.
POLL_SECONDS = 20
PATIENCE_SECONDS = 15


def poll_until_woken(queue: JobQueue, then: Callable[[], object]) -> None:
    """A long poll that is under way comes back with a job because of `then`."""
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(queue.receive, 10, POLL_SECONDS)
        time.sleep(0.3)
        assert not poll.done()
        then()
        assert len(poll.result(timeout=PATIENCE_SECONDS)) == 1


def test_a_long_poll_ends_when_a_job_arrives(embedded_queue: JobQueue) -> None:
    poll_until_woken(embedded_queue, lambda: embedded_queue.send(jobs(1)))


def test_a_long_poll_ends_when_a_job_is_released(embedded_queue: JobQueue) -> None:
    embedded_queue.send(jobs(1))
    (delivery,) = embedded_queue.receive(1, 0)
    poll_until_woken(embedded_queue, lambda: embedded_queue.release([delivery.receipt_handle]))


def test_a_long_poll_ends_when_a_visibility_timeout_does(embedded_queue: JobQueue) -> None:
    embedded_queue.send(jobs(1))
    (delivery,) = embedded_queue.receive(1, 0)
    # The poll waits for a later moment when the timeout is shortened.
    poll_until_woken(embedded_queue, lambda: embedded_queue.extend([delivery.receipt_handle], 1))


def test_a_long_poll_ends_when_a_delay_does(clients: Clients, settings: Settings, embedded_queue: JobQueue) -> None:
    url = clients["sqs"].get_queue_url(QueueName=settings.queue_name)["QueueUrl"]

    def send() -> None:
        clients["sqs"].send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)

    poll_until_woken(embedded_queue, send)


def test_a_poll_of_an_empty_queue_ends_without_a_job(queue: JobQueue) -> None:
    assert queue.receive(10, 0) == []
    assert queue.receive(10, 1) == []


def test_fifteen_long_polls_hold_up_no_other_request(embedded_queue: JobQueue) -> None:
    polling = threading.Barrier(16)

    def poll() -> int:
        polling.wait()
        return len(embedded_queue.receive(1, POLL_SECONDS))

    with ThreadPoolExecutor(15) as pool:
        polls = [pool.submit(poll) for _ in range(15)]
        polling.wait()
        time.sleep(0.5)
        for _ in range(10):
            embedded_queue.backlog()
        assert not any(poll.done() for poll in polls), "they waited for each other"
        embedded_queue.send(jobs(15))
        assert [poll.result(timeout=PATIENCE_SECONDS) for poll in polls] == [1] * 15


# --- the queues themselves -----------------------------------------------------------------------


def test_creating_the_resources_again_changes_nothing(
    clients: Clients, settings: Settings, embedded_queue: JobQueue, endpoint: Endpoint
) -> None:
    embedded_queue.send(jobs(3))
    endpoint.create(clients, settings)
    assert_counts(embedded_queue, 3, 0)


def test_the_queues_have_the_attributes_of_the_settings(clients: Clients, settings: Settings) -> None:
    sqs = clients["sqs"]

    def attributes(name: str) -> dict[str, str]:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        return dict(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])

    assert attributes(settings.queue_name)["VisibilityTimeout"] == str(settings.visibility_timeout_seconds)
    policy = json.loads(attributes(settings.queue_name)["RedrivePolicy"])
    assert int(policy["maxReceiveCount"]) == settings.max_receive_count
    assert attributes(settings.dead_letter_queue_name)["MessageRetentionPeriod"] == str(14 * 24 * 3600)
