"""The age of the oldest job, estimated from the queue's and the workers' counts."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.status.oldest_job import MAX_ARRIVALS, OldestJob


@pytest.mark.parametrize(
    ("counts", "ages"),
    [
        ([(0, 0), (0, 0)], [None, None]),
        ([(5, 0), (5, 0), (5, 0)], [0, 1, 2]),
        # The first five are answered: the oldest is of those that came a second later.
        ([(5, 0), (9, 0), (4, 5), (2, 7)], [0, 1, 1, 2]),
        ([(5, 0), (0, 5), (3, 5), (3, 5)], [0, None, 0, 1]),
        # The worker reports later than the queue does.
        ([(5, 0), (2, 0), (2, 3), (2, 3)], [0, 1, 2, 3]),
    ],
)
def test_the_oldest_job_is_as_old_as_its_arrival(counts: list[tuple[int, int]], ages: list[float | None]) -> None:
    oldest = OldestJob()
    assert [oldest.age_seconds(backlog, answered, now) for now, (backlog, answered) in enumerate(counts)] == ages


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60))
def test_it_is_exact_for_a_queue_that_is_served_in_order(steps: list[tuple[int, int]]) -> None:
    oldest, queue, answered = OldestJob(), deque[int](), 0
    for now, (come, done) in enumerate(steps):
        for _ in range(min(done, len(queue))):
            queue.popleft()
            answered += 1
        queue.extend([now] * come)
        age = oldest.age_seconds(len(queue), answered, now)
        assert age == (now - queue[0] if queue else None)


def test_a_queue_that_only_grows_takes_little_memory_and_keeps_its_oldest_job() -> None:
    oldest = OldestJob()
    for now in range(5000):
        assert oldest.age_seconds(now + 1, 0, now) == now
    assert len(oldest._arrivals) <= MAX_ARRIVALS
