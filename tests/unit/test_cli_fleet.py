"""`elastic fleet` shows the status that the controller publishes."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest
from rich.console import Console

from aws.in_memory import InMemoryStateStore
from cli.fleet import STALE_SECONDS, NoStatusError, follow, read_status, render, sparkline
from core.errors import DecodeError
from core.fleet_status import KEY, Decision, FleetStatus, InstanceStatus, Sample

STATUS = FleetStatus(
    at=1000.0,
    controller_id="host-1",
    profile="fast",
    min_size=0,
    max_size=15,
    target_latency_seconds=0.1,
    mean_service_seconds=0.031,
    mean_service_measured=True,
    expected_boot_seconds=26.0,
    oldest_job_age_seconds=1.5,
    since=900.0,
    instance_seconds=120.0,
    answered=400,
    cost_per_1000_images_usd=0.0017,
    instances=(InstanceStatus("i-1", "app-tier-1[x]", "running", 940.0, 999.0, 3, 200, 4.2),),
    history=(Sample(990.0, 90, 0, 0, 0, 0, 0.0), Sample(999.0, 7, 3, 2, 1, 1, 4.2)),
    decisions=(Decision(991.0, 2, 2, "backlog 90 needs 2 [markup]"),),
)


def shown(status: FleetStatus, now: float) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(render(status, now))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_each_field_of_the_status_is_shown() -> None:
    text = shown(STATUS, 1002.0)
    for piece in ("app-tier-1[x]", "running", "62 s", "31 ms (measured)", "$0.0017", "1.5 s", "fast", "0–15"):
        assert piece in text
    assert "backlog 90 needs 2 [markup]" in text and "+2" in text
    assert "written 2 s ago by host-1" in text and "stopped" not in text


def test_an_old_status_is_not_taken_for_the_present() -> None:
    assert "the controller seems to have stopped" in shown(STATUS, 1001.0 + STALE_SECONDS)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([0, 0], "  "),
        ([0, 4, 8], " ▄█"),
        ([1, 1000], "▁█"),
    ],
)
def test_a_sparkline_has_a_bar_for_each_value_and_hides_none(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_a_long_history_is_a_line_of_fixed_width_with_its_peaks() -> None:
    values = [0.0] * 500
    values[333] = 5.0
    line = sparkline(values, width=60)
    assert len(line) == 60 and line.count("█") == 1


def test_without_a_published_status_the_error_is_one_sentence() -> None:
    with pytest.raises(NoStatusError, match="No controller has published"):
        read_status(InMemoryStateStore())  # type: ignore[arg-type]


def test_a_status_of_another_version_is_refused() -> None:
    store = InMemoryStateStore()
    store.put(KEY, b'{"v": 99}')
    with pytest.raises(DecodeError):
        read_status(store)  # type: ignore[arg-type]


def test_following_shows_the_newest_and_survives_a_bucket_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    store, stop = InMemoryStateStore(), threading.Event()
    store.put(KEY, STATUS.encode())
    rounds = iter(range(3))

    def wait(_seconds: float) -> bool:
        round_ = next(rounds, None)
        if round_ == 0:
            store.fail_next("get")
        store.put(KEY, b"[" * 20_000 if round_ == 1 else STATUS.encode())
        return round_ is None

    monkeypatch.setattr(stop, "wait", wait)
    console = Console(file=io.StringIO(), width=140)
    follow(store, console, stop, wall_clock=lambda: 1000.0)  # type: ignore[arg-type]
    assert store.count("get") == 4


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_cuts_no_name(width: int) -> None:
    instance = dataclasses.replace(
        STATUS.instances[0],
        name="app-tier-with-a-long-name-1",
        instance_id="i-0123456789abcdef0",
        model="resnet50-imagenet@1",
    )
    console = Console(file=io.StringIO(), width=width)
    history = tuple(Sample(float(at), 90_000, 0, 0, 0, 15, 0.0) for at in range(500))
    console.print(render(dataclasses.replace(STATUS, instances=(instance,), history=history), 1002.0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for whole in (instance.name, instance.instance_id, instance.model):
        assert whole in text
    assert width < 80 or ("…" not in text and "at most 90000" in text)
