"""The chaos test's own parts: its deadline and retries, its uploads, and what makes a run valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api_client.responses import ApiError
from aws.in_memory import ManualClock
from chaos.deadline import Deadline
from chaos.report import ChaosReport, shortfalls
from chaos.uploads import LEAD_PHOTOS, PHOTOS_PER_REQUEST, Uploader
from core.errors import CloudError


def test_a_call_is_retried_until_it_succeeds() -> None:
    errors: list[Exception] = [ApiError("busy"), CloudError("throttled")]

    def call() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert Deadline(10.0, ManualClock(0.0)).retry(call, lambda seconds: None) == "done"


def test_the_last_error_is_raised_when_the_time_is_over() -> None:
    clock = ManualClock(0.0)
    deadline = Deadline(1.0, clock)

    def call() -> None:
        raise CloudError("throttled")

    with pytest.raises(CloudError, match="throttled"):
        deadline.retry(call, clock.advance)
    assert deadline.passed and deadline.remaining_seconds == 0.0


def test_an_expired_deadline_has_passed() -> None:
    deadline = Deadline(100.0, ManualClock(5.0))
    assert not deadline.passed and deadline.remaining_seconds == 100.0
    deadline.expire()
    assert deadline.passed


class Api:
    """Refuses the first request, and does not store the photo at `missing` the first time that it is sent."""

    def __init__(self, missing: int) -> None:
        self.missing: int | None = missing
        self.refused = False
        self.sent: list[tuple[int, list[str]]] = []

    def upload_once(self, batch_id: str, offset: int, photos: Sequence[Path]) -> dict[str, Any]:
        if not self.refused:
            self.refused = True
            raise ApiError("503")
        self.sent.append((offset, [path.name for path in photos]))
        positions = list(range(offset, offset + len(photos)))
        not_stored = [position for position in positions if position == self.missing]
        self.missing = None if not_stored else self.missing
        accepted = [position for position in positions if position not in not_stored]
        return {
            "accepted": [{"key": f"{batch_id}/{position:05d}"} for position in accepted],
            "not_stored": [{"position": position} for position in not_stored],
        }


def uploader(api: Api, count: int, *, kills: int = 0, backlog: int = 0, seconds: float = 60.0) -> Uploader:
    photos = [Path(f"{number}.jpg") for number in range(count)]
    saboteur: Any = SimpleNamespace(kills=kills, target_kills=20)
    jobs: Any = SimpleNamespace(backlog=lambda: SimpleNamespace(total=backlog))
    deadline = Deadline(seconds)
    client: Any = api
    return Uploader(client, jobs, saboteur, photos, deadline, lambda count: None)


def test_a_photo_that_is_not_stored_is_sent_again_at_its_position() -> None:
    api = Api(missing=3)
    uploads = uploader(api, PHOTOS_PER_REQUEST)
    uploads.upload("b", 0)
    names = [f"{number}.jpg" for number in range(PHOTOS_PER_REQUEST)]
    assert api.sent == [(0, names), (3, ["3.jpg"])]
    assert uploads.complete and uploads.accepted == {f"b/{number:05d}" for number in range(PHOTOS_PER_REQUEST)}


def test_uploads_wait_for_the_kills_but_not_without_jobs() -> None:
    last = LEAD_PHOTOS * 2
    waiting, without_jobs = Api(missing=-1), Api(missing=-1)
    uploader(waiting, last + PHOTOS_PER_REQUEST, backlog=5, seconds=0.0).upload("b", last)
    uploader(without_jobs, last + PHOTOS_PER_REQUEST).upload("b", last)
    assert not waiting.sent and without_jobs.sent


def test_a_run_with_too_few_faults_is_not_valid() -> None:
    assert shortfalls(("kills", 3, 3), ("faults", 4, 5)) == ["only 4 of 5 faults"]


def test_the_reports_numbers_have_names() -> None:
    fields = ChaosReport(5, 5, 0, 0, 2, 30, 1.5, ("a problem",)).fields()
    assert fields == {
        "accepted": 5,
        "answered": 5,
        "lost": 0,
        "doubled": 0,
        "kills": 2,
        "faults_injected": 30,
        "seconds": 1.5,
    }
