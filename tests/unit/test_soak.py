"""The soak's own parts: its trends, its samples, the choice of whom to kill, and objects that expire."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.delivery_check import delete_versions_before
from chaos.sabotage import Saboteur
from chaos.soak import SoakReport
from chaos.soak_samples import DISK, MEMORY, Samples
from chaos.trend import MIN_SAMPLES, WARM_UP_SECONDS, Tolerance, Trend, trend
from local_cloud.__main__ import emulator_environment
from tests.waiting import wait_until

HOUR = 3600.0
TOLERANCE = Tolerance(8.0)


def hour(value: Any, step: float = 10.0) -> list[tuple[float, float]]:
    return [(at, value(at)) for at in (number * step for number in range(int(HOUR / step) + 1))]


def test_what_leaks_grows_and_what_warms_up_does_not() -> None:
    leak = trend(hour(lambda at: 100 + at / 100), TOLERANCE)
    assert leak is not None and not leak.is_flat
    assert leak.per_hour == pytest.approx(36.0) and leak.growth == pytest.approx(27.0)
    warm = trend(hour(lambda at: 100 + min(at, WARM_UP_SECONDS) / 10), TOLERANCE)
    assert warm is not None and warm.is_flat and warm.growth == 0


@given(st.lists(st.floats(-3, 3), min_size=361, max_size=361), st.sets(st.integers(0, 360), max_size=60))
def test_noise_and_single_peaks_are_no_growth(noise: list[float], peaks: set[int]) -> None:
    samples = [(at, 100 + noise[i] + (500 if i in peaks else 0)) for i, (at, _) in enumerate(hour(lambda at: 0.0))]
    found = trend(samples, TOLERANCE)
    assert found is not None and found.growth < 8.0


def test_too_few_samples_show_no_trend() -> None:
    assert trend([], TOLERANCE) is None
    short = [(number * 60.0, 1.0) for number in range(int(WARM_UP_SECONDS / 60) + MIN_SAMPLES - 1)]
    assert trend(short, TOLERANCE) is None
    assert trend([*short, (short[-1][0] + 60, 1.0)], TOLERANCE) is not None


def test_the_limit_is_a_share_of_what_is_large() -> None:
    assert (TOLERANCE.limit(100.0), TOLERANCE.limit(1000.0)) == (8.0, 50.0)


def test_a_reports_trends_have_names() -> None:
    trends = {("emulator", MEMORY): Trend(100.0, 1.25, 8.0, 1.7), ("worker", MEMORY): None}
    fields = SoakReport(5, 5, 0, 0, 2, 61.0, trends, ()).fields()
    [found] = fields.pop("trends")
    assert fields == {"photos": 5, "answered": 5, "lost": 0, "doubled": 0, "kills": 2, "seconds": 61.0}
    assert found["process"] == "emulator" and found["per_hour"] == 1.7


def is_past(at: float) -> bool:
    return time.monotonic() > at


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that look like workers, the first one the oldest."""
    made = []
    for _ in range(2):
        made.append(subprocess.Popen([sys.executable, "-c", "input()", "app_tier"], stdin=subprocess.PIPE))
        # The system notes their starts in hundredths of a second.
        wait_until(partial(is_past, time.monotonic() + 0.05), "the clock has gone on")
    yield made
    for process in made:
        process.kill()
        process.communicate()


def stack_of_this_process() -> Any:
    own = SimpleNamespace(pid=psutil.Process().pid)
    return SimpleNamespace(process=lambda name: own)


def test_the_oldest_worker_lives_on(workers: list[subprocess.Popen[bytes]]) -> None:
    saboteur = Saboteur(
        stack_of_this_process(), random.Random(1), 1, (0.0, 0.0), kills_per_controller_stop=0, only_youngest=True
    )
    saboteur.work()
    assert saboteur.kills == 1
    assert workers[1].wait(10) != 0 and workers[0].poll() is None
    oldest = saboteur.oldest_worker()
    assert oldest is not None and oldest.pid == workers[0].pid


def test_samples_have_the_memory_of_each_process_and_the_folders_size(
    workers: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    saboteur = Saboteur(stack_of_this_process(), random.Random(1), 1)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.log").write_bytes(b"x" * 100_000)
    samples = Samples(stack_of_this_process(), saboteur, tmp_path)
    samples.take()
    [(_, worker)] = samples.series["worker", MEMORY]
    [(_, controller)] = samples.series["controller", MEMORY]
    [(_, disk)] = samples.series["folder", DISK]
    assert 1 < worker < 100 and controller > 10
    assert 0.09 < disk < 0.2
    assert samples.trends()["worker", MEMORY] is None


class Versions:
    """The part of a client of S3 that expiry needs, with two pages of versions."""

    def __init__(self, pages: list[dict[str, Any]]) -> None:
        self._pages = pages
        self.deleted: list[tuple[str, str]] = []

    def get_paginator(self, name: str) -> Any:
        assert name == "list_object_versions"
        return SimpleNamespace(paginate=lambda Bucket: self._pages)

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> None:
        self.deleted += [(entry["Key"], entry["VersionId"]) for entry in Delete["Objects"]]


def test_versions_and_marks_expire_by_their_age() -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)

    def entry(key: str, minutes: int) -> dict[str, Any]:
        return {"Key": key, "VersionId": f"v{minutes}", "LastModified": now - timedelta(minutes=minutes)}

    client = Versions(
        [{"Versions": [entry("a", 9), entry("a", 1)], "DeleteMarkers": [entry("b", 8)]}, {"Versions": [entry("c", 2)]}]
    )
    delete_versions_before(client, "bucket", now - timedelta(minutes=5))
    assert client.deleted == [("a", "v9"), ("b", "v8")]


def test_the_emulator_has_few_arenas_unless_another_number_is_set() -> None:
    assert emulator_environment({"PATH": "/bin"}) == {"PATH": "/bin", "MALLOC_ARENA_MAX": "2"}
    assert emulator_environment({"MALLOC_ARENA_MAX": "8"})["MALLOC_ARENA_MAX"] == "8"
