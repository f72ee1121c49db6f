"""Logs of the local stack stay within their limits, also while processes write to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from local_cloud.log_files import INSTANCE_FOLDER, LogLimits, bound_logs


def write(path: Path, size: int, age_seconds: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (1_000_000 - age_seconds, 1_000_000 - age_seconds))
    return path


def test_a_long_log_is_truncated_under_its_writer(tmp_path: Path) -> None:
    log, short = write(tmp_path / "web-tier.log", 100), write(tmp_path / "controller.log", 50)
    with log.open("ab", buffering=0) as writer:
        bound_logs(tmp_path, LogLimits(max_bytes=99))
        writer.write(b"later")
        assert log.read_bytes() == b"later", "the writer goes on at the new end"
    assert (tmp_path / "web-tier.log.1").read_bytes() == b"x" * 100
    assert short.stat().st_size == 50 and not (tmp_path / "controller.log.1").exists()
    write(log, 200)
    bound_logs(tmp_path, LogLimits(max_bytes=99))
    assert sorted(path.name for path in tmp_path.glob("web*")) == ["web-tier.log", "web-tier.log.1"]
    assert (tmp_path / "web-tier.log.1").stat().st_size == 200


def test_only_the_latest_instances_logs_are_kept(tmp_path: Path) -> None:
    instances = tmp_path / INSTANCE_FOLDER
    logs = [write(instances / f"{number}.log", 10, age_seconds=number) for number in range(5)]
    write(instances / "4.log.1", 10)
    bound_logs(tmp_path, LogLimits(instance_logs=2))
    assert sorted(path.name for path in instances.iterdir()) == [logs[0].name, logs[1].name]


@pytest.mark.parametrize("rounds", [1, 30])
def test_what_the_logs_take_does_not_grow(tmp_path: Path, rounds: int) -> None:
    limits = LogLimits(max_bytes=100, instance_logs=3)
    for number in range(rounds):
        with (tmp_path / "emulator.log").open("ab") as log:
            log.write(b"x" * 60)
        write(tmp_path / INSTANCE_FOLDER / f"{number}.log", 60, age_seconds=-number)
        bound_logs(tmp_path, limits)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.log*")]
    # A round's output comes on top of a log that is just short enough.
    assert sum(sizes) <= (2 + limits.instance_logs) * 160
