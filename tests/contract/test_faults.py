"""An emulator with faults, as the program's own clients see it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from aws import clients as aws_clients
from aws.buckets import ImageStore
from aws.clients import Clients
from aws.fleet import Fleet
from aws.queue import JobQueue
from core.errors import AlreadyExistsError, CloudError
from core.jobs import ClassificationJob
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.fault_control import CONTROL_PATH
from local_cloud.resources import create_resources
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.own_emulator

BATCH = "20260101-120000-0123456789ab"
KEY = f"{BATCH}/00000-dog.jpg"
JOB = ClassificationJob("job", BATCH, "elastic-input", KEY, "dog.jpg")
KINDS = ("throttle", "error", "delay", "cut_before", "cut_after", "redeliver", "persistence", "capacity")
NO_FAULTS = dict.fromkeys(KINDS, 0)
ATTEMPTS = 2


class Cloud:
    """The faulty emulator: clients that try twice, and the switch of its faults."""

    def __init__(self, endpoint_url: str) -> None:
        self._control = f"{endpoint_url}/_faults"
        clients, settings = Clients(), Settings()
        create_resources(clients, settings)
        self.images = ImageStore(clients["s3"], settings.input_bucket)
        self.queue = JobQueue(clients["sqs"], settings.queue_name)
        self.fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)
        self._before: dict[str, int] = {}

    def set(self, **fields: Any) -> None:
        """Plays only these faults from now on, and counts anew."""
        self._before = requests.post(
            self._control, json={**NO_FAULTS, "enabled": True, **fields}, timeout=PATIENCE_SECONDS
        ).json()["counts"]

    def counts(self) -> dict[str, int]:
        """The faults since `set`, those that came."""
        counts = requests.get(self._control, timeout=PATIENCE_SECONDS).json()["counts"]
        return {kind: count - self._before[kind] for kind, count in counts.items() if count > self._before[kind]}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    emulator = subprocess.Popen(
        [sys.executable, "-m", "local_cloud.emulator", "--faults", '{"seed": 1, "throttle": 0, "error": 0}'],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert emulator.stdout is not None
        endpoint_url = emulator.stdout.readline().strip()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", endpoint_url)
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setattr(aws_clients, "MAX_ATTEMPTS", ATTEMPTS)
            yield Cloud(endpoint_url)
    finally:
        emulator.terminate()
        emulator.wait(timeout=PATIENCE_SECONDS)
        if emulator.stdout is not None:
            emulator.stdout.close()


@pytest.fixture(autouse=True)
def _empty(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.set(enabled=False)
    while received := cloud.queue.receive(10, 0):
        cloud.queue.delete([delivery.receipt_handle for delivery in received])


CALLS: dict[str, Callable[[Cloud], Any]] = {
    "s3": lambda cloud: list(cloud.images.list(BATCH)),
    "sqs": lambda cloud: cloud.queue.backlog(),
    "ec2": lambda cloud: cloud.fleet.describe(),
}


@pytest.mark.parametrize(
    ("service", "kind"),
    [("ec2", "throttle")]
    + [(service, kind) for service in ("s3", "sqs") for kind in ("throttle", "error", "cut_before", "cut_after")],
)
def test_a_fault_is_retried_and_then_our_own_error(cloud: Cloud, service: str, kind: str) -> None:
    cloud.set(**{kind: 1})
    with pytest.raises(CloudError) as caught:
        CALLS[service](cloud)
    assert type(caught.value) is CloudError
    assert cloud.counts() == {kind: ATTEMPTS}
    cloud.set()
    CALLS[service](cloud)
    assert cloud.counts() == {}


def test_a_head_request_without_a_body_can_fail_too(cloud: Cloud) -> None:
    cloud.set(error=1)
    with pytest.raises(CloudError):
        cloud.images.name(KEY)
    assert cloud.counts() == {"error": ATTEMPTS}


def test_a_connection_cut_before_has_no_effect_and_one_cut_after_has(cloud: Cloud) -> None:
    for kind, stored in (("cut_before", []), ("cut_after", [KEY])):
        cloud.set(**{kind: 1})
        with pytest.raises(CloudError):
            cloud.images.put(KEY, b"image", "dog.jpg")
        cloud.set(enabled=False)
        assert [entry.key for entry in cloud.images.list(BATCH)] == stored


def test_a_retry_that_meets_its_own_image_is_no_conflict(cloud: Cloud) -> None:
    """Else an upload without a position would take the next one, and the image would be there twice."""
    cloud.set(seed=1, cut_after=0.5)
    for number in range(20):
        try:
            cloud.images.put(f"{BATCH}/{number:05d}-new.jpg", b"image", "new.jpg", only_if_new=True)
        except CloudError as error:
            assert not isinstance(error, AlreadyExistsError)
    cloud.set(enabled=False)
    with pytest.raises(AlreadyExistsError):
        cloud.images.put(f"{BATCH}/00000-new.jpg", b"another", "new.jpg", only_if_new=True)


def test_a_job_whose_sending_was_cut_after_is_there_as_often_as_it_was_tried(cloud: Cloud) -> None:
    cloud.set(cut_after=1)
    with pytest.raises(CloudError):
        cloud.queue.send([JOB])
    cloud.set(enabled=False)
    assert cloud.queue.backlog().visible == ATTEMPTS


def test_a_persistent_fault_outlasts_the_retries_of_one_request_only(cloud: Cloud) -> None:
    cloud.set(seed=3, error=0.2, persistence=1)
    outcomes = []
    for _ in range(40):
        try:
            outcomes.append(cloud.queue.backlog().total == 0)
        except CloudError:
            outcomes.append(False)
    failures = outcomes.count(False)
    assert 0 < failures < 20
    assert cloud.counts() == {"error": failures * ATTEMPTS}


def test_a_delayed_request_is_answered(cloud: Cloud) -> None:
    cloud.set(delay=1, max_delay_seconds=0.01)
    assert cloud.queue.backlog().total == 0
    assert cloud.counts() == {"delay": 1}


def test_launching_is_throttled_and_lacks_capacity_and_a_retry_of_the_launch_changes_neither(cloud: Cloud) -> None:
    cloud.set(throttle=1)
    throttled = cloud.fleet.launch(5, "throttled")
    assert throttled.problem is not None and throttled.problem.code == "RequestLimitExceeded"
    assert throttled.problem.retryable

    cloud.set(seed=1, capacity=1)
    launches = [cloud.fleet.launch(5, f"token-{number}") for number in range(10)]
    assert cloud.counts() == {"capacity": 10}
    assert {launch.problem and launch.problem.code for launch in launches} == {"InsufficientInstanceCapacity"}
    assert {0} < {len(launch.instance_ids) for launch in launches}, "none at times, at times some"
    cloud.set(enabled=False)
    assert [cloud.fleet.launch(5, f"token-{number}") for number in range(10)] == launches
    assert len(cloud.fleet.describe()) == sum(len(launch.instance_ids) for launch in launches)


def test_a_message_is_delivered_twice_and_deleted_once(cloud: Cloud) -> None:
    cloud.queue.send([JOB])
    cloud.set(redeliver=1)
    [first] = cloud.queue.receive(10, 0)
    cloud.set()
    [second] = cloud.queue.receive(10, 0)
    assert (first.job, second.job, second.receive_count) == (JOB, JOB, 2)
    cloud.queue.delete([first.receipt_handle])
    cloud.queue.delete([second.receipt_handle])
    assert cloud.queue.backlog().total == 0


def test_switched_off_there_are_no_faults_and_the_counts_stay(cloud: Cloud) -> None:
    cloud.set(throttle=1)
    with pytest.raises(CloudError):
        cloud.queue.backlog()
    before = cloud.counts()
    requests.post(cloud._control, json={"enabled": False}, timeout=PATIENCE_SECONDS)
    cloud.queue.backlog()
    assert cloud.counts() == before == {"throttle": ATTEMPTS}


def test_a_mistake_at_the_switch_is_reported(cloud: Cloud) -> None:
    for body in ({"throttel": 1}, {"throttle": 7}, [1]):
        assert requests.post(cloud._control, json=body, timeout=PATIENCE_SECONDS).status_code == 400


def test_a_fault_that_persists_does_not_keep_the_embedded_cloud_from_starting(tmp_path: Path) -> None:
    """Every request fails for good; the resources are created before faults begin."""
    command = [sys.executable, "-m", "local_cloud", "--log-directory", str(tmp_path)]
    command += ["--faults", '{"seed": 1, "throttle": 0.9, "error": 0, "delay": 0, "persistence": 1, "capacity": 0}']
    process = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        assert requests.get(f"{addresses['endpoint_url']}{CONTROL_PATH}", timeout=PATIENCE_SECONDS).json()["enabled"]
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
