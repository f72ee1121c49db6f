"""A real emulator process, and clients that speak to it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from aws.clients import Clients
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.resources import create_resources

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    """Clients of an emulator that runs for the whole session."""
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
        assert emulator.wait(timeout=5) == 0
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
        visibility_timeout_seconds=30,
        max_receive_count=2,
    )
    create_resources(clients, settings)
    return settings
