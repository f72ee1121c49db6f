"""Dead letters: all are found although SQS responds with few of them at a time, and none is lost or left hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from aws.dead_letters import WAIT_SECONDS, DeadLetters
from aws.in_memory import InMemoryJobQueue, ManualClock
from aws.queue import ReceivedJob
from cli import dlq
from core.jobs import ClassificationJob

BATCH_ID = "20260101-120000-0123456789ab"
# More than two requests can bring.
SOME = 23


def job(position: int) -> ClassificationJob:
    return ClassificationJob(f"{position:016x}", BATCH_ID, "input", f"{BATCH_ID}/{position:05d}-a.jpg", "a.jpg")


class SparseQueue(InMemoryJobQueue):
    """A queue that responds as SQS may: to a short poll with nothing, to a long one with fewer letters than there are.

    Args:
        most: how many letters the responses have at most, over and over; 0: none.
        seconds_per_receive: how far the clock is advanced by each request.
    """

    def __init__(self, most: list[int], seconds_per_receive: float = 0.0) -> None:
        self.now = ManualClock()
        super().__init__(self.now, max_receive_count=1_000_000)
        self._most: Iterator[int] = cycle(most)
        self._seconds = seconds_per_receive

    def receive(self, max_jobs: int, wait_seconds: int) -> list[ReceivedJob]:
        self.now.advance(self._seconds)
        most = min(max_jobs, next(self._most)) if wait_seconds else 0
        return super().receive(most, 0) if most else []


def filled(queue: InMemoryJobQueue, jobs: int, others: int) -> tuple[DeadLetters, InMemoryJobQueue]:
    queue.send(job(position) for position in range(jobs))
    for _other in range(others):
        queue.put_body("not a job")
    job_queue = InMemoryJobQueue()
    return DeadLetters(queue, job_queue), job_queue  # type: ignore[arg-type]


def keys(jobs: list[ClassificationJob]) -> list[str]:
    return sorted(found.key for found in jobs)


# At most two responses without a letter in a row.
sparse = st.lists(st.integers(0, 10), max_size=2).flatmap(lambda few: st.integers(1, 10).map(lambda most: [*few, most]))


@given(most=sparse, jobs=st.integers(0, SOME), others=st.integers(0, SOME))
def test_every_letter_is_found_once_and_is_visible_afterwards(most: list[int], jobs: int, others: int) -> None:
    queue = SparseQueue(most)
    letters, _job_queue = filled(queue, jobs, others)
    found = letters.peek(1000)
    assert len(found) == len({letter.message_id for letter in found}) == jobs + others
    assert queue.backlog().visible == jobs + others


@given(most=sparse, jobs=st.integers(0, SOME), others=st.integers(0, SOME))
def test_every_job_is_redriven_and_every_other_message_stays(most: list[int], jobs: int, others: int) -> None:
    queue = SparseQueue(most)
    letters, job_queue = filled(queue, jobs, others)
    assert letters.redrive(1000) == jobs
    assert keys(job_queue.jobs) == keys([job(position) for position in range(jobs)])
    assert (len(queue.messages), queue.backlog().visible) == (others, others)


@given(most=sparse, jobs=st.integers(0, SOME), others=st.integers(0, SOME), limit=st.integers(1, SOME))
def test_what_is_chosen_is_deleted_up_to_the_limit(most: list[int], jobs: int, others: int, limit: int) -> None:
    queue = SparseQueue(most)
    letters, _job_queue = filled(queue, jobs, others)
    assert letters.delete(limit, lambda letter: letter.job is None) == min(limit, others)
    assert len(queue.jobs) == jobs
    assert queue.backlog().visible == jobs + others - min(limit, others)


def test_letters_that_come_again_meanwhile_are_counted_once_and_end_the_pass() -> None:
    # Each request takes longer than half a visibility timeout.
    queue = SparseQueue([10], seconds_per_receive=16.0)
    letters, job_queue = filled(queue, 0, 15)
    assert len(letters.peek(1000)) == 15
    assert queue.backlog().visible == 15, "also with the handle of its latest delivery each is released"
    assert letters.redrive(1000) == 0 and job_queue.jobs == []


def test_a_limit_receives_no_more_than_that() -> None:
    queue = SparseQueue([10])
    letters, job_queue = filled(queue, SOME, 0)
    assert len(letters.peek(3)) == 3
    assert (letters.redrive(12), len(job_queue.jobs), letters.count()) == (12, 12, SOME - 12)


def test_letters_stay_where_they_cannot_be_sent() -> None:
    queue = SparseQueue([10])
    letters, job_queue = filled(queue, 5, 1)
    job_queue.fail_next("send")
    with pytest.raises(Exception, match="as planned"):
        letters.redrive(10)
    assert queue.backlog().visible == 6


def test_polls_are_long() -> None:
    assert WAIT_SECONDS >= 1, "a short poll asks some of SQS's servers only"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, InMemoryJobQueue]]:
    """Runs `elastic dlq` with two jobs and two messages that are none; returns status, output and the queue."""

    def run(*arguments: str, typed: str = "") -> tuple[int, str, InMemoryJobQueue]:
        queue = SparseQueue([10])
        letters, _job_queue = filled(queue, 2, 2)
        monkeypatch.setattr(dlq, "_dead_letters", lambda: letters)
        result = CliRunner().invoke(dlq.dlq, arguments, input=typed)
        return result.exit_code, result.output, queue

    return run


@pytest.mark.parametrize(
    ("arguments", "typed", "status", "jobs_left", "others_left"),
    [
        pytest.param(["--all", "--yes"], "", 0, 0, 0, id="all"),
        pytest.param(["--all"], "y\n", 0, 0, 0, id="all, confirmed"),
        pytest.param(["--all"], "n\n", 1, 2, 2, id="all, not confirmed"),
        pytest.param(["--not-jobs", "--yes"], "", 0, 2, 0, id="poison messages"),
        pytest.param([job(1).key, "--yes"], "", 0, 1, 2, id="one by its key"),
        pytest.param(["no-such-key", "--yes"], "", 1, 2, 2, id="a key without a dead letter"),
        pytest.param(["--yes"], "", 2, 2, 2, id="none chosen"),
        pytest.param(["--all", "--not-jobs", "--yes"], "", 2, 2, 2, id="two choices"),
        pytest.param(["--all", job(1).key, "--yes"], "", 2, 2, 2, id="a key and all"),
    ],
)
def test_delete(
    run: Callable[..., tuple[int, str, InMemoryJobQueue]],
    arguments: list[str],
    typed: str,
    status: int,
    jobs_left: int,
    others_left: int,
) -> None:
    code, output, queue = run("delete", *arguments, typed=typed)
    assert code == status, output
    assert (len(queue.jobs), len(queue.messages) - len(queue.jobs)) == (jobs_left, others_left)
    assert queue.backlog().visible == jobs_left + others_left


def test_delete_names_what_it_has_deleted_and_what_it_has_not_found(
    run: Callable[..., tuple[int, str, InMemoryJobQueue]],
) -> None:
    assert run("delete", job(0).key, "--yes")[1] == "1 dead letter deleted.\n"
    assert "no dead letter has the key no-such-key" in run("delete", job(0).key, "no-such-key", "--yes")[1]


def test_list_names_the_messages_that_are_no_jobs(run: Callable[..., tuple[int, str, InMemoryJobQueue]]) -> None:
    code, output, _queue = run("list")
    assert code == 0 and output.count("(not a job)") == 2 and job(0).key in output
