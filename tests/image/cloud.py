"""The embedded cloud for a machine outside the local stack: emulator and metadata service, without supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.queue import JobQueue
from core.errors import ElasticError
from core.jobs import ClassificationJob, new_batch_id, new_job_id
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.metadata_service import MetadataService
from local_cloud.processes import spawn, stop_all
from local_cloud.resources import create_resources

POLL_SECONDS = 0.02


class Cloud:
    """Buckets, queue and an instance's user data."""

    def __init__(self, endpoint_url: str, settings: Settings, metadata: MetadataService) -> None:
        clients = Clients()
        create_resources(clients, settings)
        self.settings = settings
        self.metadata = metadata
        self.queue = JobQueue(clients["sqs"], settings.queue_name)
        self._images = ImageStore(clients["s3"], settings.input_bucket)
        self._results = ResultStore(clients["s3"], settings.output_bucket)
        self._endpoint_url = endpoint_url

    def user_data(self, **settings: str) -> str:
        """User data as in a launch template: settings, here with the emulator's endpoint and credentials."""
        variables: Mapping[str, str] = {
            **LOCAL_CREDENTIALS,
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "EIC_QUEUE_NAME": self.settings.queue_name,
            "EIC_RECEIVE_WAIT_SECONDS": str(self.settings.receive_wait_seconds),
            **{f"EIC_{name.upper()}": value for name, value in settings.items()},
        }
        return "#!/bin/sh\n" + "".join(f"{name}={value}\n" for name, value in variables.items())

    def upload(self, photos: list[Path]) -> str:
        """Stores photos and their jobs; returns the prefix of the results."""
        batch_id = new_batch_id(datetime.now(UTC))
        jobs = []
        for number, photo in enumerate(photos):
            key = f"{batch_id}/{number:05d}-{photo.name}"
            self._images.put(key, photo.read_bytes(), photo.name)
            jobs.append(ClassificationJob(new_job_id(), batch_id, self._images.bucket, key, photo.name))
        self.queue.send(jobs)
        return f"{batch_id}/"

    def wait_for_answers(self, prefix: str, count: int, timeout_seconds: float) -> list[str]:
        """Waits for `count` results; returns their lines.

        Raises:
            ElasticError: the timeout has passed.
        """
        deadline = time.monotonic() + timeout_seconds
        while (answered := sum(1 for _ in self._results.list(prefix))) < count:
            if time.monotonic() > deadline:
                raise ElasticError(f"{answered} of {count} photos were answered in {timeout_seconds:g} s")
            time.sleep(POLL_SECONDS)
        return self.answers(prefix)

    def answers(self, prefix: str) -> list[str]:
        """The lines of the results so far."""
        return [self._results.line(stored.key) for stored in self._results.list(prefix)]


@contextmanager
def running_cloud(log_directory: Path) -> Iterator[Cloud]:
    """Starts an emulator of its own until the end of the block, and restores this process's environment then."""
    command = [sys.executable, "-m", "local_cloud.emulator"]
    saved = dict(os.environ)
    emulator = spawn(command, os.environ, log_directory / "emulator.log", REPOSITORY_ROOT, stdout=subprocess.PIPE)
    metadata = MetadataService()
    try:
        assert emulator.stdout is not None
        endpoint_url = emulator.stdout.readline().strip()
        if not endpoint_url:
            raise ElasticError(f"the emulator did not start; see {log_directory}/emulator.log")
        os.environ |= {**LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url}
        yield Cloud(endpoint_url, Settings(receive_wait_seconds=2), metadata)
    finally:
        os.environ.clear()
        os.environ.update(saved)
        metadata.close()
        stop_all([emulator], grace_seconds=5)
