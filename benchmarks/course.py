"""Play a grader of a cloud-computing course against the profile `course`.

``python -m benchmarks.course [--requests N]… [--json FILE]``, or ``elastic bench course``.

For each number of requests, a hundred threads post one image each to ``/`` and expect ``name:label``, while the fleet,
the queues and the buckets are observed as graders do it.  docs/reference/course.md has their rules.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import requests
from rich.console import Console
from rich.table import Table

from aws.clients import Clients
from aws.objects import list_objects
from aws.queue import JobQueue
from benchmarks.report import json_option, machine, write_json
from core.errors import ElasticError
from core.image_layouts import without_ending
from core.paths import REPOSITORY_ROOT
from core.periodic_task import PeriodicTask
from core.profiles import PROFILES
from core.settings import Settings
from local_cloud.sample_photos import make_crops
from local_cloud.stack import LocalStack

REQUESTS = (10, 50, 100)
THREADS = 100
ID = "1234567890"
# Graders look every two seconds; to see a count that lasts for less, this looks more often.
LOOK_SECONDS = 0.2
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
_SCALE_IN_TIMEOUT_SECONDS = 120.0
_SEED = 1


@dataclass(frozen=True, slots=True)
class Look:
    """What a grader sees at one moment: names of running instances, and the messages that wait in the queues."""

    at: float
    workers: frozenset[str]
    web_instances: int
    requests: int
    responses: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to one image: its file's name, the status and the text, and when it came, monotonic seconds."""

    name: str
    status: int
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests that were sent at once, and everything that was seen meanwhile.

    `stored` are the keys in the input bucket at the end, `labels` keys and values in the output bucket.
    """

    replies: Sequence[Reply]
    looks: Sequence[Look]
    stored: Sequence[str]
    labels: Mapping[str, str]

    @property
    def peak(self) -> int:
        """The most instances at a time."""
        return max(len(look.workers) for look in self.looks)

    @property
    def scale_in_seconds(self) -> float:
        """The time from the last reply to the first look without instances after it."""
        last = max(reply.at for reply in self.replies)
        return next((look.at - last for look in self.looks if look.at > last and not look.workers), float("inf"))


def faults(burst: Burst, settings: Settings) -> list[str]:
    """The rules that a burst has broken, one sentence each; times are not among them."""
    names = sorted(reply.name for reply in burst.replies)
    expected = min(len(names), settings.max_size)
    numbered = {f"{settings.instance_name_prefix}{number}" for number in range(1, expected + 1)}
    first, last = burst.looks[0], burst.looks[-1]
    wrong = [reply.text for reply in burst.replies if not _is_right(reply, burst.labels)]
    other_names = sorted(frozenset().union(*(look.workers for look in burst.looks)) - numbered)
    checks = (
        (wrong, f"{len(wrong)} replies are wrong, such as {wrong[:1]}"),
        (burst.peak != expected, f"there were up to {burst.peak} instances, not {expected}"),
        (other_names, f"instances had other names: {', '.join(other_names)}"),
        (first.workers, "there were instances at the start"),
        (last.workers, "there were instances at the end"),
        (any(look.web_instances != 1 for look in burst.looks), "there was not always one web instance"),
        (not any(look.requests for look in burst.looks), "no request was seen in the queue"),
        (last.requests or last.responses, "messages were left in the queues"),
        (sorted(burst.stored) != names, "the input bucket has other objects than the images"),
        (sorted(burst.labels) != sorted(map(without_ending, names)), "the output bucket has other objects than labels"),
    )
    return [sentence for is_broken, sentence in checks if is_broken]


def _is_right(reply: Reply, labels: Mapping[str, str]) -> bool:
    """Whether a reply has the label that is stored under its image's name."""
    stem = without_ending(reply.name)
    return reply.status == 200 and stem in labels and reply.text == f"{stem}:{labels[stem]}"


class Grader:
    """Sends bursts to a local stack, and observes its cloud."""

    def __init__(self, stack: LocalStack) -> None:
        self._settings = stack.settings
        self._url = stack.web_url
        self._clients = Clients(environment=stack.environment)
        self._queues = [
            JobQueue(self._clients["sqs"], name)
            for name in (self._settings.queue_name, self._settings.response_queue_name)
        ]

    def grade(self, images: Sequence[Path]) -> Burst:
        """Empty the buckets, post the images at once, and wait until there is no instance any more.

        Raises:
            ElasticError: there are instances two minutes after the last reply.
        """
        self._empty()
        looks, stop = [self._look()], threading.Event()
        watch = PeriodicTask("grader", LOOK_SECONDS, lambda: looks.append(self._look())).start(stop)
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                replies = list(pool.map(self._post, images))
            deadline = time.monotonic() + _SCALE_IN_TIMEOUT_SECONDS
            while looks[-1].workers or looks[-1].at < max(reply.at for reply in replies):
                if time.monotonic() > deadline:
                    raise ElasticError("there are still instances two minutes after the last reply")
                time.sleep(LOOK_SECONDS)
        finally:
            stop.set()
            watch.join()
        looks.append(self._look())
        s3, output = self._clients["s3"], self._settings.output_bucket
        labels = {key: s3.get_object(Bucket=output, Key=key)["Body"].read().decode() for key in self._keys(output)}
        return Burst(replies, looks, self._keys(self._settings.input_bucket), labels)

    def largest_message_bytes(self) -> int:
        """The largest message that the request queue takes."""
        sqs, attribute = self._clients["sqs"], "MaximumMessageSize"
        url = sqs.get_queue_url(QueueName=self._settings.queue_name)["QueueUrl"]
        return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute])

    def _post(self, path: Path) -> Reply:
        with path.open("rb") as file:
            response = requests.post(f"{self._url}/", files={"inputFile": file}, timeout=_SCALE_IN_TIMEOUT_SECONDS)
        return Reply(path.name, response.status_code, response.text, time.monotonic())

    def _look(self) -> Look:
        waiting = [queue.backlog().visible for queue in self._queues]
        names = self._running()
        workers = frozenset(name for name in names if name.startswith(self._settings.instance_name_prefix))
        return Look(time.monotonic(), workers, names.count(self._settings.web_instance_name), *waiting)

    def _running(self) -> list[str]:
        filters = [{"Name": "instance-state-name", "Values": ["running"]}]
        pages = self._clients["ec2"].get_paginator("describe_instances").paginate(Filters=filters)
        instances = [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]
        return [tag["Value"] for i in instances for tag in i.get("Tags", []) if tag["Key"] == "Name"]

    def _empty(self) -> None:
        for bucket in (self._settings.input_bucket, self._settings.output_bucket):
            for key in self._keys(bucket):
                self._clients["s3"].delete_object(Bucket=bucket, Key=key)

    def _keys(self, bucket: str) -> list[str]:
        return [stored.key for stored in list_objects(self._clients["s3"], bucket, "")]


def course_settings(**others: Any) -> dict[str, Any]:
    """The settings of a local stack with the profile, as overrides for `LocalStack`."""
    return {"profile": "course", **PROFILES["course"], "deployment_id": ID, **others}


def named_like_a_course(folder: Path, count: int) -> list[Path]:
    """Different small images, ``test_00.jpg`` and so on."""
    crops = make_crops(count, _SEED, folder)
    return [path.rename(folder / f"test_{number:02d}.jpg") for number, path in enumerate(crops)]


@click.command("course")
@json_option
@click.option(
    "--requests",
    "counts",
    type=click.IntRange(1),
    multiple=True,
    default=REQUESTS,
    show_default=True,
    help="Repeatable.",
)
@click.option("--max-size", type=click.IntRange(1), default=15, show_default=True, help="Maximum number of instances.")
def command(json_path: Path | None, counts: Sequence[int], max_size: int) -> None:
    """Play the grader of a course: exact counts, names, replies, queues and buckets."""
    table = Table("requests", "right", "instances", "last reply", "no instance after", "broken rules")
    runs = []
    settings = course_settings(max_size=max_size)
    with tempfile.TemporaryDirectory() as folder, LocalStack(settings, log_directory=_LOG_DIRECTORY) as stack:
        images, grader = named_like_a_course(Path(folder), max(counts)), Grader(stack)
        for count in counts:
            began = time.monotonic()
            burst = grader.grade(images[:count])
            last = max(reply.at for reply in burst.replies) - began
            right = sum(_is_right(reply, burst.labels) for reply in burst.replies)
            broken, scale_in = faults(burst, stack.settings), burst.scale_in_seconds
            figures = f"{count}", f"{right}", f"{burst.peak}", f"{last:.1f} s", f"{scale_in:.1f} s"
            table.add_row(*figures, "; ".join(broken) or "none")
            run = {"requests": count, "right": right, "instances": burst.peak, "last_reply_seconds": round(last, 2)}
            runs.append({**run, "scale_in_seconds": round(scale_in, 2), "broken_rules": broken})
    Console().print(table)
    if json_path is not None:
        write_json({"runs": runs, "machine": machine()}, json_path)
    if any(run["broken_rules"] for run in runs):
        raise click.ClickException("rules are broken; see the table")


if __name__ == "__main__":
    command()
