"""Jobs of requests at the same time share requests to SQS, and every request learns what became of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.errors import CloudError
from core.jobs import ClassificationJob
from web_tier.domain.job_batcher import JobBatcher

BATCH = "20260101-000000-aaaaaaaaaaaa"


def job(number: int) -> ClassificationJob:
    return ClassificationJob(f"job-{number}", BATCH, "bucket", f"{BATCH}/{number:05d}-a.jpg", "a.jpg")


class SlowQueue:
    """Records what each call sends; the first call waits until the test lets it go on."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.fails: set[str] = set()

    def send(self, jobs: Sequence[ClassificationJob]) -> int:
        self.sent.append([job.job_id for job in jobs])
        first = len(self.sent) == 1
        self.entered.set()
        if first:
            assert self.go_on.wait(30)
        if self.fails & set(self.sent[-1]):
            raise CloudError("SQS is away")
        return len(jobs)


def waiting(sender: JobBatcher) -> int:
    return len(sender._waiting)


def send_while_busy(queue: SlowQueue, groups: Sequence[Sequence[int]]) -> list[Exception | None]:
    """Sends job 0, and the groups, each in a thread of its own, while that is under way; what each raised."""
    found: Any = queue
    sender = JobBatcher(found)
    with ThreadPoolExecutor(len(groups) + 1) as pool:
        outcomes = [pool.submit(sender.send, [job(0)])]
        assert queue.entered.wait(30)
        for count, group in enumerate(groups, start=1):
            outcomes.append(pool.submit(sender.send, [job(number) for number in group]))
            while waiting(sender) < count:
                pass
        queue.go_on.set()
        raised = [outcome.exception(30) for outcome in outcomes]
    assert not waiting(sender)
    sender.send([job(99)])
    assert queue.sent.pop() == ["job-99"]
    return raised  # type: ignore[return-value]


def test_who_comes_alone_sends_at_once() -> None:
    queue: Any = SlowQueue()
    queue.go_on.set()
    sender = JobBatcher(queue)
    sender.send([job(1)])
    sender.send([job(2), job(3)])
    assert queue.sent == [["job-1"], ["job-2", "job-3"]]


@pytest.mark.parametrize(
    ("groups", "sizes"),
    [
        ([[1], [2], [3]], [1, 3]),
        ([[number] for number in range(1, 13)], [1, 10, 2]),
        # A request's jobs stay together, in the order in which the requests came.
        ([range(1, 8), range(8, 15), [15]], [1, 7, 8]),
        # The upload that fills a request has nothing to gain by waiting.
        ([[1]], [1, 1]),
    ],
)
def test_who_comes_meanwhile_shares(groups: Sequence[Sequence[int]], sizes: list[int]) -> None:
    queue = SlowQueue()
    assert send_while_busy(queue, groups) == [None] * (len(groups) + 1)
    assert [len(sent) for sent in queue.sent] == sizes
    every = [name for sent in queue.sent for name in sent]
    assert every == [f"job-{number}" for number in range(len(every))]


def test_a_full_request_does_not_wait() -> None:
    queue: Any = SlowQueue()
    sender = JobBatcher(queue)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(sender.send, [job(0)])
        assert queue.entered.wait(30)
        sender.send([job(number) for number in range(1, 11)])
        assert not slow.done()
        queue.go_on.set()
        slow.result(30)


@pytest.mark.parametrize("failing", ["job-0", "job-2"])
def test_a_failure_reaches_those_whose_jobs_it_met(failing: str) -> None:
    queue = SlowQueue()
    queue.fails = {failing}
    raised = send_while_busy(queue, [[1], [2], [3]])
    assert [type(error) for error in raised[:1]] == [CloudError if failing == "job-0" else type(None)]
    assert [type(error) for error in raised[1:]] == [CloudError if failing == "job-2" else type(None)] * 3
