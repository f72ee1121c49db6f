"""The fleet with real processes: two controllers, of which one dies; a cloud that lacks capacity; a machine that
never boots."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from api_client.client import ApiClient
from aws.clients import Clients
from aws.fleet import Fleet
from aws.state import StateStore
from cli.fleet import read_status
from local_cloud.fault_control import CONTROL_PATH
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.stack import LocalStack
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

MakeImages = Callable[..., list[Path]]

LEASE_SECONDS = 4.0
MAX_SIZE = 6
BOOT_SECONDS = 10.0


def connect(stack: LocalStack) -> tuple[Clients, Fleet]:
    clients, settings = Clients(environment=stack.environment), stack.settings
    return clients, Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)


def test_of_two_controllers_one_leads_and_the_other_takes_over_when_it_is_killed(
    tmp_path: Path, make_images: MakeImages
) -> None:
    settings = {
        "target_latency_seconds": 0.05,
        "scale_in_stabilization_seconds": 2,
        "lease_seconds": LEASE_SECONDS,
        "max_size": MAX_SIZE,
    }
    paths = make_images(80)
    # While they boot, all instances are ordered and none works: when ordering twice would be easiest.
    with LocalStack(settings, controller=False, boot_seconds=BOOT_SECONDS, log_directory=tmp_path) as stack:
        clients, fleet = connect(stack)
        state, api = StateStore(clients["s3"], stack.settings.state_bucket), ApiClient(stack.web_url)
        with FleetSizeHistory(fleet, interval_seconds=0.5) as history:
            # Before anyone leads: however slow the machine, all is there when the first decision is made.
            batch_id = api.create_batch()
            assert api.upload(batch_id, paths, lambda count: None) == []
            processes = {name: stack.start_controller(name) for name in ("controller", "controller-2")}
            wait_until(lambda: state.get("controller/status.json") is not None, "no controller took the lead")
            first = read_status(state)
            wait_until(lambda: history.size == MAX_SIZE, "not everything was launched")

            (leader,) = [p for p in processes.values() if f"-{p.pid}-" in first.controller_id]
            leader.send_signal(signal.SIGKILL)
            wait_until(lambda: read_status(state).controller_id != first.controller_id, "no controller took over")

            answers = list(api.follow(batch_id, len(paths), PATIENCE_SECONDS))
            assert history.wait_for_zero(PATIENCE_SECONDS)
        after = read_status(state)
    assert len(answers) == len(paths)
    # All were in the queue before the first instance was launched.
    assert min(answer["seconds_booting"] for answer in answers) >= BOOT_SECONDS
    assert history.peak == MAX_SIZE
    assert after.since == first.since and f"-{leader.pid}-" not in after.controller_id


def test_a_second_controller_takes_over_at_once_from_one_that_is_stopped(tmp_path: Path) -> None:
    with LocalStack({"lease_seconds": 60}, log_directory=tmp_path) as stack:
        clients, _ = connect(stack)
        state = StateStore(clients["s3"], stack.settings.state_bucket)
        wait_until(lambda: state.get("controller/status.json") is not None, "no controller took the lead")
        first = read_status(state)
        stack.start_controller("controller-2")
        stack.process("controller").terminate()
        wait_until(lambda: read_status(state).controller_id != first.controller_id, "no controller took over", 20)


def test_the_backlog_drains_without_capacity_under_throttling_and_with_machines_that_never_boot(
    tmp_path: Path, make_images: MakeImages
) -> None:
    none = dict.fromkeys(("error", "delay", "cut_before", "cut_after", "redeliver", "throttle", "capacity"), 0)
    settings = {
        "max_size": 3,
        "target_latency_seconds": 0.1,
        "boot_grace_seconds": 8,
        "scale_in_stabilization_seconds": 2,
    }
    paths = make_images(40)
    with LocalStack(
        settings, controller=False, faults={"seed": 5, **none}, never_boots=3, log_directory=tmp_path
    ) as stack:
        _, fleet = connect(stack)
        api = ApiClient(stack.web_url)
        with FleetSizeHistory(fleet, interval_seconds=0.5) as history:
            batch_id = api.create_batch()
            assert api.upload(batch_id, paths, lambda count: None) == []
            faults = {"capacity": 1.0, "persistence": 0.0}
            requests.post(
                f"{stack.endpoint_url}{CONTROL_PATH}", json=faults, timeout=PATIENCE_SECONDS
            ).raise_for_status()
            stack.start_controller()
            controller_log = tmp_path / "controller.log"
            wait_until(
                lambda: "InsufficientInstanceCapacity" in controller_log.read_text("utf-8"), "no launch was refused", 30
            )
            faults |= {"capacity": 0.5, "throttle": 0.1}
            requests.post(
                f"{stack.endpoint_url}{CONTROL_PATH}", json=faults, timeout=PATIENCE_SECONDS
            ).raise_for_status()
            answers = list(api.follow(batch_id, len(paths), PATIENCE_SECONDS))
            requests.post(f"{stack.endpoint_url}{CONTROL_PATH}", json=none, timeout=PATIENCE_SECONDS).raise_for_status()
            assert history.wait_for_zero(PATIENCE_SECONDS)
    log = (tmp_path / "controller.log").read_text("utf-8")
    cloud_log = (tmp_path / "local-cloud.log").read_text("utf-8")
    assert len(answers) == len(paths)
    assert history.peak <= 3
    assert cloud_log.count("will never boot") == 3
    assert "InsufficientInstanceCapacity" in log and "has never reported" in log
