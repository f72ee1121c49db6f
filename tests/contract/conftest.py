"""A cloud and clients of it, and both sides of the contract.

`images`, `results`, `index`, `store`, `queue` and `fleet` are each the class of `aws` on the cloud, and then its
in-memory stand-in.  What only the cloud has is tested with `embedded_images` and the like.  The cloud is the emulator
of this program, unless ``--endpoint`` names another one: see `tests.contract.endpoint`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.bulk_queue import BulkQueue
from aws.clients import Clients
from aws.fleet import Fleet
from aws.in_memory import (
    InMemoryBatchIndex,
    InMemoryBulkQueue,
    InMemoryFleet,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryResponseQueue,
    InMemoryResultStore,
    InMemoryStateStore,
)
from aws.queue import JobQueue, ReceivedJob
from aws.response_queue import ResponseQueue
from aws.state import StateStore
from core.jobs import ClassificationJob
from core.settings import Settings
from local_cloud.resources import create_launch_template
from tests.contract.endpoint import RUN, Endpoint
from tests.waiting import wait_until

VISIBILITY_TIMEOUT_SECONDS = 30
MAX_RECEIVE_COUNT = 2
MAX_IMAGE_BYTES = 100_000
EMULATOR, IN_MEMORY = "emulator", "in memory"

_numbers = itertools.count(1)


_endpoint = pytest.StashKey[Endpoint]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the cloud."""
    config.stash[_endpoint] = Endpoint(config.getoption("--endpoint"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against another cloud, run what is about that cloud."""
    cloud = config.stash[_endpoint]
    if cloud.is_ours:
        return
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    in_memory = [item for item in here if IN_MEMORY in item.name]
    config.hook.pytest_deselected(items=in_memory)
    items[:] = [item for item in items if item not in in_memory]
    for item in here:
        if reason := cloud.skip_reason(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how many requests were sent, and what they cost."""
    cloud = config.stash[_endpoint]
    if cloud.requests and config.getoption("--count-requests"):
        terminalreporter.write_line(cloud.report())


@pytest.fixture(scope="package")
def endpoint(pytestconfig: pytest.Config) -> Endpoint:
    """The cloud that the contract is held against."""
    return pytestconfig.stash[_endpoint]


@pytest.fixture(scope="package")
def clients(endpoint: Endpoint) -> Iterator[Clients]:
    """Clients of the cloud; if it is our emulator, one that runs for all tests of this folder."""
    with endpoint.connect() as clients:
        yield clients


@pytest.fixture
def settings(clients: Clients, endpoint: Endpoint) -> Iterator[Settings]:
    """Settings with names that no other test uses, and everything that they name, created."""
    number = f"{RUN}-{next(_numbers)}"
    settings = replace(
        Settings(),
        input_bucket=f"contract-input-{number}",
        output_bucket=f"contract-output-{number}",
        state_bucket=f"contract-state-{number}",
        queue_name=f"contract-jobs-{number}",
        dead_letter_queue_name=f"contract-jobs-{number}-dead",
        bulk_queue_name=f"contract-bulk-{number}",
        launch_template_name=f"contract-app-tier-{number}",
        fleet_name=f"contract-fleet-{number}",
        visibility_timeout_seconds=VISIBILITY_TIMEOUT_SECONDS,
        max_receive_count=MAX_RECEIVE_COUNT,
    )
    endpoint.create(clients, settings)
    yield settings
    endpoint.delete(clients, settings)


# --- on the cloud -----------------------------------------------------------------------------


@pytest.fixture
def embedded_images(clients: Clients, settings: Settings) -> ImageStore:
    return ImageStore(clients["s3"], settings.input_bucket, MAX_IMAGE_BYTES)


@pytest.fixture
def embedded_results(clients: Clients, settings: Settings) -> ResultStore:
    return ResultStore(clients["s3"], settings.output_bucket)


@pytest.fixture
def embedded_index(clients: Clients, settings: Settings) -> BatchIndex:
    return BatchIndex(clients["s3"], settings.input_bucket)


@pytest.fixture
def embedded_store(clients: Clients, settings: Settings) -> StateStore:
    return StateStore(clients["s3"], settings.state_bucket)


@pytest.fixture
def embedded_queue(clients: Clients, settings: Settings) -> JobQueue:
    return JobQueue(clients["sqs"], settings.queue_name)


@pytest.fixture
def launch_template(clients: Clients, settings: Settings) -> str:
    """The name of a launch template."""
    create_launch_template(clients["ec2"], settings.launch_template_name)
    return settings.launch_template_name


@pytest.fixture
def embedded_fleet(clients: Clients, settings: Settings, launch_template: str) -> Fleet:
    return Fleet(clients["ec2"], launch_template, settings.fleet_name, ["t3.small", "t3a.small"])


def take(queue: JobQueue | InMemoryJobQueue, count: int) -> list[ReceivedJob]:
    """Receives `count` jobs; SQS may respond with fewer than there are."""
    received: list[ReceivedJob] = []

    def receive() -> bool:
        received.extend(queue.receive(min(10, count - len(received)), 1))
        return len(received) == count

    wait_until(receive, f"{count} jobs were not received")
    return received


# --- both sides ----------------------------------------------------------------------------------


@pytest.fixture(params=[EMULATOR, IN_MEMORY])
def side(request: pytest.FixtureRequest) -> str:
    """Which side of the contract a test is about."""
    name: str = request.param
    return name


@pytest.fixture
def images(side: str, request: pytest.FixtureRequest) -> ImageStore | InMemoryImageStore:
    if side == IN_MEMORY:
        return InMemoryImageStore(time.time, max_image_bytes=MAX_IMAGE_BYTES)
    embedded: ImageStore = request.getfixturevalue("embedded_images")
    return embedded


@pytest.fixture
def results(side: str, request: pytest.FixtureRequest) -> ResultStore | InMemoryResultStore:
    return InMemoryResultStore(time.time) if side == IN_MEMORY else request.getfixturevalue("embedded_results")


@pytest.fixture
def index(side: str, request: pytest.FixtureRequest) -> BatchIndex | InMemoryBatchIndex:
    return InMemoryBatchIndex(time.time) if side == IN_MEMORY else request.getfixturevalue("embedded_index")


@pytest.fixture
def store(side: str, request: pytest.FixtureRequest) -> StateStore | InMemoryStateStore:
    return InMemoryStateStore(time.time) if side == IN_MEMORY else request.getfixturevalue("embedded_store")


@pytest.fixture
def fleet(side: str, request: pytest.FixtureRequest) -> Fleet | InMemoryFleet:
    return InMemoryFleet(time.time) if side == IN_MEMORY else request.getfixturevalue("embedded_fleet")


@pytest.fixture
def queue(side: str, request: pytest.FixtureRequest) -> JobQueue | InMemoryJobQueue:
    if side == IN_MEMORY:
        return InMemoryJobQueue(time.time, VISIBILITY_TIMEOUT_SECONDS, MAX_RECEIVE_COUNT)
    queue: JobQueue = request.getfixturevalue("embedded_queue")
    return queue


@pytest.fixture
def bulk_queue(side: str, request: pytest.FixtureRequest) -> BulkQueue | InMemoryBulkQueue:
    if side == IN_MEMORY:
        return InMemoryBulkQueue(time.time, VISIBILITY_TIMEOUT_SECONDS, MAX_RECEIVE_COUNT)
    clients, settings = request.getfixturevalue("clients"), request.getfixturevalue("settings")
    return BulkQueue(clients["sqs"], settings.bulk_queue_name)


@pytest.fixture
def responses(side: str, clients: Clients, settings: Settings) -> Iterator[ResponseQueue | InMemoryResponseQueue]:
    if side == IN_MEMORY:
        yield InMemoryResponseQueue()
        return
    name = f"{settings.queue_name}-responses"
    url = clients["sqs"].create_queue(QueueName=name)["QueueUrl"]
    yield ResponseQueue(clients["sqs"], name)
    clients["sqs"].delete_queue(QueueUrl=url)


@pytest.fixture
def dead_letters(
    queue: JobQueue | InMemoryJobQueue, request: pytest.FixtureRequest
) -> Callable[[], list[ClassificationJob]]:
    """Receives the jobs that failed too often."""
    if isinstance(queue, InMemoryJobQueue):
        memory = queue
        return lambda: [ClassificationJob.decode(body) for body in memory.dead_letters]
    clients, settings = request.getfixturevalue("clients"), request.getfixturevalue("settings")
    dead = JobQueue(clients["sqs"], settings.dead_letter_queue_name)
    return lambda: [delivery.job for delivery in take(dead, 1) if delivery.job is not None]


@pytest.fixture
def send_body(queue: JobQueue | InMemoryJobQueue, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Enqueues a message with any body."""
    if isinstance(queue, InMemoryJobQueue):
        return queue.put_body
    clients, settings = request.getfixturevalue("clients"), request.getfixturevalue("settings")
    url = clients["sqs"].get_queue_url(QueueName=settings.queue_name)["QueueUrl"]
    return lambda body: clients["sqs"].send_message(QueueUrl=url, MessageBody=body)


@pytest.fixture
def put_result_body(
    results: ResultStore | InMemoryResultStore, request: pytest.FixtureRequest
) -> Callable[[str, bytes], None]:
    """Stores any object in the bucket of the results."""
    if isinstance(results, InMemoryResultStore):
        return results.put_garbage
    s3, bucket = request.getfixturevalue("clients")["s3"], results.bucket
    return lambda key, body: s3.put_object(Bucket=bucket, Key=key, Body=body)
