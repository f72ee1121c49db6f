"""The response queue, on the embedded SQS and in memory."""

from __future__ import annotations

import pytest

from aws.clients import Clients
from aws.response_queue import ResponseQueue
from core.errors import NotFoundError
from tests.waiting import wait_until


def test_answers_are_taken_once_and_ten_at_a_time(responses: ResponseQueue) -> None:
    responses.check()
    assert responses.take(0) == []
    lines = [f"test_{number:02d}:tabby, cat" for number in range(12)] + ["犬:error: the file is empty"]
    for line in lines:
        responses.send(line)
    taken: list[str] = []

    def take_more() -> bool:
        found = responses.take(1)
        assert len(found) <= 10
        taken.extend(found)
        return len(taken) >= len(lines)

    wait_until(take_more, "answers are missing")
    assert sorted(taken) == sorted(lines)
    assert responses.take(0) == []


def test_a_queue_that_does_not_exist_is_found_out_before_the_first_answer(clients: Clients) -> None:
    with pytest.raises(NotFoundError, match="no-such-queue"):
        ResponseQueue(clients["sqs"], "no-such-queue").check()
