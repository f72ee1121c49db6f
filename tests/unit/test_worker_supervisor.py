"""The worker's supervisor: one worker at a time, an orderly stop, settings from a file and from user data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.variables import METADATA_TIMEOUT_SECONDS, VariablesError, instance_variables, read_variables
from ami.worker_supervisor import IDLE_STATUS, WorkerSupervisor
from app_tier.__main__ import IDLE_STATUS as WORKERS_IDLE_STATUS
from aws.metadata import ENDPOINT_VARIABLE, InstanceMetadata
from core.paths import REPOSITORY_ROOT
from local_cloud.metadata_service import MetadataService

START = (
    "import os, sys\nfrom pathlib import Path\nfrom ami.worker_supervisor import WorkerSupervisor\n"
    "folder = Path(sys.argv[1])\n"
    "sys.exit(WorkerSupervisor(folder, folder / 'lock').start(os.environ, sys.argv[2:]))\n"
)
# A worker that signals its start with a file, and exits with status 0 on SIGTERM.
WORKER = (
    "import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "pathlib.Path(sys.argv[1], 'there').touch()\ntime.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def start(folder: Path, worker: str = WORKER) -> subprocess.Popen[bytes]:
    """What cron runs."""
    command = [sys.executable, "-c", START, str(folder), sys.executable, "-c", worker, str(folder)]
    return subprocess.Popen(["flock", "--nonblock", str(folder / "lock"), *command], cwd=REPOSITORY_ROOT)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} does not appear"
        time.sleep(0.01)


def test_supervisor_and_worker_agree_on_the_idle_status() -> None:
    assert IDLE_STATUS == WORKERS_IDLE_STATUS


@pytest.mark.parametrize(("status", "idle"), [(0, False), (1, False), (IDLE_STATUS, True)])
def test_an_idle_worker_leaves_a_marker_and_no_other_does(tmp_path: Path, status: int, idle: bool) -> None:
    supervisor = WorkerSupervisor(tmp_path, tmp_path / "lock")
    assert supervisor.start(os.environ, (sys.executable, "-c", f"raise SystemExit({status})")) == status
    assert (tmp_path / "idle").exists() == idle
    assert not (tmp_path / "worker.pid").exists()


@pytest.mark.parametrize(("status", "off"), [(0, True), (1, False)])
def test_an_interrupted_instance_gets_no_other_worker(tmp_path: Path, status: int, off: bool) -> None:
    supervisor = WorkerSupervisor(tmp_path, tmp_path / "lock")
    supervisor.start(os.environ, (sys.executable, "-c", f"raise SystemExit({status})"), interrupted=lambda: True)
    assert (tmp_path / "idle").exists() == off


@pytest.mark.parametrize("marker", ["idle", "stopping"])
def test_nothing_starts_on_a_machine_that_goes_down(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).touch()
    assert WorkerSupervisor(tmp_path, tmp_path / "lock").start(os.environ, ("/nonexistent",)) == 0


def test_a_second_start_is_refused_even_after_the_supervisor_was_killed(tmp_path: Path) -> None:
    first = start(tmp_path)
    wait_for(tmp_path / "there")
    assert start(tmp_path).wait(10) == 1
    worker = int((tmp_path / "worker.pid").read_text())
    try:
        (supervisor,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        os.kill(int(supervisor), signal.SIGKILL)
        first.wait(10)
        assert start(tmp_path).wait(10) == 1
    finally:
        os.kill(worker, signal.SIGTERM)
    assert WorkerSupervisor(tmp_path, tmp_path / "lock").stop(timeout_seconds=10)


def test_stop_ends_the_worker_in_order(tmp_path: Path) -> None:
    running = start(tmp_path)
    wait_for(tmp_path / "there")
    assert WorkerSupervisor(tmp_path, tmp_path / "lock").stop(timeout_seconds=10)
    assert running.wait(10) == 0
    assert (tmp_path / "stopping").exists()


def test_stop_reports_a_worker_that_does_not_exit(tmp_path: Path) -> None:
    deaf = WORKER.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    running = start(tmp_path, deaf)
    wait_for(tmp_path / "there")
    worker = int((tmp_path / "worker.pid").read_text())
    try:
        assert not WorkerSupervisor(tmp_path, tmp_path / "lock").stop(timeout_seconds=0.3)
    finally:
        os.kill(worker, signal.SIGKILL)
        running.wait(10)


def test_stop_without_a_worker_is_at_once_done(tmp_path: Path) -> None:
    (tmp_path / "worker.pid").write_text(str(os.getpid()))  # stale, of another process
    assert WorkerSupervisor(tmp_path, tmp_path / "lock").stop(timeout_seconds=0)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("EIC_QUEUE_NAME=jobs", {"EIC_QUEUE_NAME": "jobs"}),
        ("export AWS_REGION='eu-central-1'", {"AWS_REGION": "eu-central-1"}),
        ('  EIC_FLEET_NAME="a b" ', {"EIC_FLEET_NAME": "a b"}),
        ("EIC_MODEL_BUNDLE=a=b", {"EIC_MODEL_BUNDLE": "a=b"}),
        ("EIC_WORKER_ID=", {"EIC_WORKER_ID": ""}),
        ("EIC_WORKER_ID='", {"EIC_WORKER_ID": "'"}),
        ("# EIC_QUEUE_NAME=jobs", {}),
        ("PATH=/tmp", {}),
        ("LD_PRELOAD=x EIC_A=1", {}),
        ("#!/bin/sh", {}),
    ],
)
def test_settings_are_lines_among_others(line: str, found: dict[str, str]) -> None:
    assert read_variables(f"first\n{line}\nlast") == found


def test_later_lines_win() -> None:
    assert read_variables("EIC_TOP_K=1\r\nEIC_TOP_K=2\r\n") == {"EIC_TOP_K": "2"}


@pytest.fixture(scope="module")
def service() -> Iterator[MetadataService]:
    service = MetadataService()
    yield service
    service.close()


def variables_of(service: MetadataService, instance_id: str) -> dict[str, str]:
    environment = {ENDPOINT_VARIABLE: service.endpoint(instance_id)}
    return instance_variables(InstanceMetadata(environment), environment)


def test_user_data_is_what_the_instance_was_launched_with(service: MetadataService) -> None:
    service.set_user_data("i-1", "#cloud-config\nEIC_QUEUE_NAME=jobs-1\nAWS_REGION=eu-central-1\n")
    assert variables_of(service, "i-1") == {"EIC_QUEUE_NAME": "jobs-1", "AWS_REGION": "eu-central-1"}
    assert variables_of(service, "i-2") == {}


def test_the_region_is_the_instances_own_where_nothing_names_one() -> None:
    class Metadata(InstanceMetadata):
        def _get(self, path: str, tree: str = "meta-data/") -> str | None:
            return {"user-data": "EIC_TOP_K=1", "placement/region": "eu-west-3"}[path]

    environment = {ENDPOINT_VARIABLE: "http://x"}
    found = instance_variables(Metadata(environment), environment)
    assert found == {"EIC_TOP_K": "1", "AWS_DEFAULT_REGION": "eu-west-3"}
    assert instance_variables(Metadata(environment), {**environment, "AWS_REGION": "x"}) == {"EIC_TOP_K": "1"}


def test_outside_ec2_no_metadata_service_is_asked(tmp_path: Path) -> None:
    vendor = tmp_path / "vendor"
    for text in (None, "QEMU\n"):
        if text is not None:
            vendor.write_text(text)
        assert (
            instance_variables(InstanceMetadata({ENDPOINT_VARIABLE: "http://127.0.0.1:9"}), {}, vendor_file=vendor)
            == {}
        )


def test_on_ec2_it_waits_for_the_network_and_gives_up_in_a_sentence(tmp_path: Path) -> None:
    vendor, now, metadata = tmp_path / "vendor", [0.0], InstanceMetadata({ENDPOINT_VARIABLE: "http://127.0.0.1:9"})
    vendor.write_text("Amazon EC2\n")

    def sleep(seconds: float) -> None:
        now[0] += max(seconds, 1.0)

    with pytest.raises(VariablesError, match="metadata service does not answer"):
        instance_variables(metadata, {}, lambda: now[0], sleep, vendor)
    assert METADATA_TIMEOUT_SECONDS < now[0] < 60, "longer than cron's minute would pile up"
