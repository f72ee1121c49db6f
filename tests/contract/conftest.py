"""A real emulator process and clients that speak to it, and both sides of the contract.

`images`, `results`, `index`, `store`, `queue` and `fleet` are each the class of `aws` on the emulator, and then its
in-memory stand-in.  What only the emulator has is tested with `embedded_images` and the like.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from aws.in_memory import (
    InMemoryBatchIndex,
    InMemoryFleet,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryResponseQueue,
    InMemoryResultStore,
    InMemoryStateStore,
)
from aws.queue import JobQueue
from aws.response_queue import ResponseQueue
from aws.state import StateStore
from core.jobs import ClassificationJob
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.resources import create_resources
from tests.waiting import PATIENCE_SECONDS

VISIBILITY_TIMEOUT_SECONDS = 30
MAX_RECEIVE_COUNT = 2
MAX_IMAGE_BYTES = 100_000
EMULATOR, IN_MEMORY = "emulator", "in memory"

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def clients() -> Iterator[Clients]:
    """Clients of an emulator that runs for all tests of this folder."""
    emulator = subprocess.Popen(
        [sys.executable, "-m", "local_cloud.emulator", "--port", "0"],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert emulator.stdout is not None
        endpoint_url = emulator.stdout.readline().strip()
        assert endpoint_url, "the emulator did not start"
        # Clients read the environment when they are opened: it need not stay set for longer than that.
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ENDPOINT_URL", endpoint_url)
            environment.setenv("AWS_ACCESS_KEY_ID", "test")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
            clients = Clients(max_connections=32)
            for service in ("s3", "sqs", "ec2", "iam", "ssm", "cloudwatch"):
                clients[service]
        yield clients
    finally:
        emulator.terminate()
        assert emulator.wait(timeout=PATIENCE_SECONDS) == 0
        if emulator.stdout is not None:
            emulator.stdout.close()


@pytest.fixture
def settings(clients: Clients) -> Settings:
    """Settings with names that no other test uses, and everything that they name, created."""
    number = next(_numbers)
    settings = replace(
        Settings(),
        input_bucket=f"input-{number}",
        output_bucket=f"output-{number}",
        state_bucket=f"state-{number}",
        queue_name=f"jobs-{number}",
        dead_letter_queue_name=f"jobs-{number}-dead",
        launch_template_name=f"app-tier-{number}",
        fleet_name=f"fleet-{number}",
        visibility_timeout_seconds=VISIBILITY_TIMEOUT_SECONDS,
        max_receive_count=MAX_RECEIVE_COUNT,
    )
    create_resources(clients, settings)
    return settings


# --- on the emulator -----------------------------------------------------------------------------


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
def embedded_fleet(clients: Clients, settings: Settings) -> Fleet:
    return Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name, ["t3.small", "t3a.small"])


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
def responses(side: str, clients: Clients, settings: Settings) -> ResponseQueue | InMemoryResponseQueue:
    if side == IN_MEMORY:
        return InMemoryResponseQueue()
    named = replace(settings, response_queue_name=f"{settings.queue_name}-responses")
    create_resources(clients, named)
    return ResponseQueue(clients["sqs"], named.response_queue_name)


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
    return lambda: [delivery.job for delivery in dead.receive(10, 0) if delivery.job is not None]


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
