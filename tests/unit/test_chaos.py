"""The chaos test's own parts: its deadline and retries, its uploads, and what makes a run valid."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from api_client.responses import ApiError
from aws.in_memory import ManualClock
from chaos.deadline import Deadline
from chaos.report import ChaosReport, shortfalls
from chaos.troubles import SLOW, USUAL, Troubles, clock_variables
from chaos.uploads import LEAD_PHOTOS, PHOTOS_PER_REQUEST, Uploader
from core.errors import CloudError
from local_cloud.faults import FaultSpec
from tests.waiting import wait_until


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


PYTHON = Path(sys.executable)


# Writes a file for each line that it reads, and answers with the number of the error, or 0.
_WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(line.strip(), "w") as file:
            file.write("x")
    except OSError as error:
        print(error.errno, flush=True)
    else:
        print(0, flush=True)
"""


class Writer(psutil.Process):  # type: ignore[misc]  # psutil has no types
    """A child process that writes files on request."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [PYTHON, "-c", _WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        super().__init__(self._popen.pid)

    def ask(self, path: Path) -> int:
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._popen.stdin.write(f"{path}\n")
        self._popen.stdin.flush()
        return int(self._popen.stdout.readline())

    def end(self) -> None:
        self._popen.kill()
        self._popen.communicate()


@pytest.fixture
def child() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.end()


def troubles_of(child: Writer, clock_file: Path, faults: Any, target: int = 6) -> Troubles:
    stack: Any = SimpleNamespace(
        settings=SimpleNamespace(visibility_timeout_seconds=5), process=lambda name: SimpleNamespace(pid=child.pid)
    )
    return Troubles(stack, lambda: [child], faults, clock_file, target)


def test_each_trouble_begins_and_ends(child: Writer, tmp_path: Path) -> None:
    clock_file = tmp_path / "clock"
    made = troubles_of(child, clock_file, SimpleNamespace(change=None))
    stopped, full, few, emulator, ahead, behind = made.troubles
    assert stopped.seconds > 5
    with stopped.cause():
        wait_until(lambda: child.status() == psutil.STATUS_STOPPED, "the process is stopped")
    assert child.ask(tmp_path / "a") == 0
    for trouble, number in ((full, errno.EFBIG), (emulator, errno.EFBIG)):
        with trouble.cause():
            assert child.ask(tmp_path / "b") == number
        assert child.ask(tmp_path / "b") == 0
    before = child.rlimit(psutil.RLIMIT_NOFILE)
    with few.cause():
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (8, before[1])
    assert child.rlimit(psutil.RLIMIT_NOFILE) == before
    for trouble, jump in ((ahead, 3600.0), (behind, -7200.0)):
        with trouble.cause():
            assert float(clock_file.read_text()) == jump
        assert float(clock_file.read_text()) == 0


def test_troubles_end_with_the_run_and_a_process_that_ended_is_no_trouble(child: Writer, tmp_path: Path) -> None:
    changes: list[dict[str, float]] = []
    faults: Any = SimpleNamespace(change=changes.append)
    child.end()
    with troubles_of(child, tmp_path / "clock", faults, 1) as troubles:
        pass
    assert troubles.caused == [] and changes == [SLOW]
    with troubles_of(child, tmp_path / "clock", faults, 0) as troubles:
        pass
    assert troubles.troubles == [] and changes == [SLOW]


def test_the_emulator_is_as_usual_after_its_slow_minute() -> None:
    usual = FaultSpec()
    assert {name: getattr(usual, name) for name in SLOW} == USUAL
    assert usual.changed(SLOW).delay > usual.delay


@pytest.mark.parametrize(("program", "shift"), [("web_tier.wsgi:app", 3600.0), ("controller", 0.0)])
def test_the_wall_clock_of_the_web_tier_alone_jumps(tmp_path: Path, program: str, shift: float) -> None:
    (tmp_path / "clock").write_text("3600")
    script = (
        "import time, datetime; real = time.clock_gettime(time.CLOCK_REALTIME);"
        "print(time.time() - real, datetime.datetime.now(datetime.UTC).timestamp() - real,"
        "isinstance(datetime.datetime(2026, 1, 2), datetime.datetime), datetime.datetime.now().year > 2000)"
    )
    environment = {**os.environ, **clock_variables(tmp_path / "clock")}
    output = subprocess.run(
        [PYTHON, "-c", script, program], env=environment, capture_output=True, text=True, check=True
    )
    seconds, other, *rest = output.stdout.split()
    assert float(seconds) == pytest.approx(shift, abs=5) and float(other) == pytest.approx(shift, abs=5)
    assert rest == ["True", "True"]


def test_a_run_with_too_few_faults_is_not_valid() -> None:
    assert shortfalls(("kills", 3, 3), ("faults", 4, 5)) == ["only 4 of 5 faults"]


def test_the_reports_numbers_have_names() -> None:
    fields = ChaosReport(5, 5, 0, 0, 2, 6, 30, 1.5, ("a problem",)).fields()
    assert fields == {
        "accepted": 5,
        "answered": 5,
        "lost": 0,
        "doubled": 0,
        "kills": 2,
        "troubles": 6,
        "faults_injected": 30,
        "seconds": 1.5,
    }
