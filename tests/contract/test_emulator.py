"""The emulator as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.clients import Clients
from core.paths import REPOSITORY_ROOT
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.own_emulator

COMMAND = [sys.executable, "-m", "local_cloud.emulator", "--port"]


def test_it_stops_at_once_and_quietly_while_clients_long_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [*COMMAND, "0"], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as emulator:
        try:
            assert emulator.stdout is not None
            assert emulator.stderr is not None
            monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.stdout.readline().strip())
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.setenv(name, "test")
            monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            # No server is left to answer its retries.
            monkeypatch.setattr("aws.clients.MAX_ATTEMPTS", 1)
            client = Clients()["sqs"]
            url = client.create_queue(QueueName="jobs")["QueueUrl"]
            with ThreadPoolExecutor(15) as pool:
                polls = [pool.submit(client.receive_message, QueueUrl=url, WaitTimeSeconds=20) for _ in range(15)]
                time.sleep(0.5)
                assert not any(poll.done() for poll in polls)
                emulator.send_signal(signal.SIGTERM)
                # Sooner than the polls would end by themselves.
                assert emulator.wait(timeout=PATIENCE_SECONDS) == 0
                assert all(poll.exception() is not None for poll in polls)
            assert (emulator.stdout.read(), emulator.stderr.read()) == ("", "")
        finally:
            emulator.kill()


def test_a_port_in_use_is_an_error_that_names_it(clients: Clients) -> None:
    port = clients["s3"].meta.endpoint_url.rpartition(":")[2]
    second = subprocess.run(
        [*COMMAND, port], cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert second.returncode != 0
    assert port in second.stderr
