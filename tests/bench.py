"""A running stack for acceptance tests, and everything to look into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from api_client.client import ApiClient
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from aws.queue import JobQueue
from local_cloud.stack import LocalStack
from tests.waiting import PATIENCE_SECONDS


class Bench:
    """A running stack, clients of its cloud and of its web tier."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        clients, settings = Clients(environment=stack.environment), stack.settings
        self.api = ApiClient(stack.web_url)
        self.images = ImageStore(clients["s3"], settings.input_bucket)
        self.results = ResultStore(clients["s3"], settings.output_bucket)
        self.queue = JobQueue(clients["sqs"], settings.queue_name)
        self.dead_letters = JobQueue(clients["sqs"], settings.dead_letter_queue_name)
        self.fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)

    def upload(self, paths: list[Path]) -> str:
        """Uploads one batch, all of which must be stored; returns its id."""
        batch_id = self.api.create_batch()
        assert self.api.upload(batch_id, paths, lambda count: None) == []
        return batch_id

    def answers(self, batch_id: str, count: int) -> list[dict[str, Any]]:
        """Waits for `count` answers of a batch; sorts them by position."""
        answers = self.api.follow(batch_id, count, PATIENCE_SECONDS)
        return sorted(answers, key=lambda answer: str(answer["key"]))

    def classify(self, paths: list[Path]) -> list[dict[str, Any]]:
        """Uploads one batch and waits for all answers, in the order of `paths`."""
        return self.answers(self.upload(paths), len(paths))

    def workers_ended_by_themselves(self) -> int:
        """How many workers ended although their instance was running; those that scale-in stopped do not count."""
        log = (self.stack.log_directory / "local-cloud.log").read_text("utf-8")
        return len(re.findall(r"the worker of \S+ ended with status", log))

    def workers(self) -> list[psutil.Process]:
        """The worker processes of this stack."""
        children = psutil.Process(self.stack.process("local-cloud").pid).children(recursive=True)
        return [child for child in children if "app_tier" in child.cmdline()]


@contextmanager
def running_bench(settings: dict[str, Any], log_directory: Path) -> Iterator[Bench]:
    """Starts a stack."""
    with LocalStack(settings, log_directory=log_directory) as stack:
        yield Bench(stack)
