"""The cloud that the contract is held against: the emulator of this program, another emulator, or AWS.

``make test-contract ENDPOINT=…`` names another one: the URL of an emulator, or ``aws``.  All requests are counted, so
that it is known before what a run on AWS costs.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from aws.clients import Clients
from aws.stack_resources import StackResources
from core.paths import REPOSITORY_ROOT
from core.prices import load_prices
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.resources import create_bucket, create_queues, create_resources
from tests.waiting import PATIENCE_SECONDS

AWS = "aws"
SERVICES = ("s3", "sqs", "ec2", "iam", "ssm", "cloudwatch")
# Part of each name, because bucket names are unique in all of S3 and a deleted queue's name is blocked for a minute.
RUN = secrets.token_hex(4)
# S3's cheaper requests; deleting is free.
_READS = frozenset(("GetObject", "HeadObject", "HeadBucket", "GetBucketLocation", "GetBucketNotificationConfiguration"))
_FREE = frozenset(("DeleteObject", "DeleteObjects", "DeleteBucket", "AbortMultipartUpload"))


@dataclass(slots=True)
class Endpoint:
    """A cloud, named by the option ``--endpoint``: empty for our emulator, ``aws``, or an emulator's URL.

    Attributes:
        environment: the variables that name AWS and its credentials; tests run without them.
        requests: how many were sent, by service and operation.
    """

    name: str = ""
    environment: Mapping[str, str] = field(
        default_factory=lambda: {name: value for name, value in os.environ.items() if name.startswith("AWS_")},
        repr=False,
    )
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_ours(self) -> bool:
        """Whether it is the emulator of this program."""
        return not self.name

    @property
    def is_aws(self) -> bool:
        """Whether requests cost money."""
        return self.name == AWS

    def skip_reason(self, item: pytest.Item) -> str:
        """Why a test is not run against this cloud; empty: it is."""
        if not self.is_ours and item.get_closest_marker("own_emulator"):
            return "about the emulator of this program"
        mark = item.get_closest_marker("not_on_aws")
        return str(mark.kwargs["reason"]) if self.is_aws and mark else ""

    @contextmanager
    def connect(self) -> Iterator[Clients]:
        """Clients of the cloud, whose requests are counted; starts our emulator for the duration, if it is that."""
        if self.is_ours:
            with running_emulator() as url:
                yield self._clients(url)
        else:
            yield self._clients("" if self.is_aws else self.name)

    def create(self, clients: Clients, settings: Settings) -> None:
        """Creates the buckets and queues of a test; in our emulator everything else, too."""
        if self.is_ours:
            create_resources(clients, settings)
            return
        for bucket in buckets_of(settings):
            create_bucket(clients["s3"], bucket)
        create_queues(clients["sqs"], settings)

    def delete(self, clients: Clients, settings: Settings) -> None:
        """Deletes what `create` has created, with its content; our emulator forgets it."""
        if self.is_ours:
            return
        for bucket in buckets_of(settings):
            StackResources(clients, settings.fleet_name).empty_bucket(bucket)
            clients["s3"].delete_bucket(Bucket=bucket)
        for queue in (settings.queue_name, settings.dead_letter_queue_name, settings.bulk_queue_name):
            clients["sqs"].delete_queue(QueueUrl=clients["sqs"].get_queue_url(QueueName=queue)["QueueUrl"])

    def report(self) -> str:
        """The number of requests of each service, and what those of S3 and SQS cost on AWS."""
        prices = load_prices().of
        usd, by_service = 0.0, Counter[str]()
        for (service, operation), count in self.requests.items():
            by_service[service] += count
            if service == "s3" and operation not in _FREE:
                usd += count * prices["s3_read" if operation in _READS else "s3_write"]
            elif service == "sqs":
                usd += count * prices["sqs_request"]
        counted = ", ".join(f"{count:,} of {service}" for service, count in sorted(by_service.items()))
        return f"requests: {counted}; on AWS those of S3 and SQS cost ${usd:.4f} ({load_prices().region})"

    def _clients(self, url: str) -> Clients:
        variables = self.environment if self.is_aws else {**LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": url}
        # Clients read the environment when they are opened: it need not stay set for longer than that.
        with pytest.MonkeyPatch.context() as environment:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                environment.delenv(name)
            for name, value in variables.items():
                environment.setenv(name, value)
            clients = Clients(max_connections=32)
            for service in SERVICES:
                clients[service].meta.events.register("before-send", self._count)
        return clients

    def _count(self, event_name: str, **_request: Any) -> None:
        _before_send, service, operation = event_name.split(".")
        with self._lock:
            self.requests[service, operation] += 1


def buckets_of(settings: Settings) -> tuple[str, str, str]:
    """The three buckets that settings name."""
    return settings.input_bucket, settings.output_bucket, settings.state_bucket


@contextmanager
def running_emulator() -> Iterator[str]:
    """Runs the emulator as a process; yields its URL."""
    emulator = subprocess.Popen(
        [sys.executable, "-m", "local_cloud.emulator", "--port", "0"],
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert emulator.stdout is not None
        url = emulator.stdout.readline().strip()
        assert url, "the emulator did not start"
        yield url
    finally:
        emulator.terminate()
        assert emulator.wait(timeout=PATIENCE_SECONDS) == 0
        if emulator.stdout is not None:
            emulator.stdout.close()
