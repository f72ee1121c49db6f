"""Benchmark of the embedded queue's requests at growing backlogs, compared with moto's own queue.

``python -m benchmarks.queue_backlog [--json FILE]`` takes about a minute and a half.  Times are medians of
whole requests, measured by a client in another process; the two emulators differ only in the queue.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

from aws.clients import Clients
from core.paths import REPOSITORY_ROOT

BACKLOGS = (10, 500, 5_000)
# The time to fill moto's own queue grows with the square of the backlog.  If filling takes longer than this,
# the backlog reached is measured instead.
FILL_LIMIT_SECONDS = 45.0
SAMPLES = 21
# If requests are slow, fewer samples are taken.
SAMPLING_LIMIT_SECONDS = 8.0
MINIMUM_SAMPLES = 3
BATCH_SIZE = 10
BODY = "x" * 300  # about the size of a job
COUNTS = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
]

# Median milliseconds by operation.
Timings = dict[str, float]


@contextmanager
def emulator(*options: str) -> Iterator[Any]:
    """Starts an emulator process for the duration of the block; yields an SQS client."""
    command = [sys.executable, "-m", "local_cloud.emulator", "--port", "0", *options]
    with subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            environment = {
                "AWS_ENDPOINT_URL": process.stdout.readline().strip() if process.stdout else "",
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": "benchmark",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            with mock.patch.dict(os.environ, environment):
                client = Clients()["sqs"]
            yield client
        finally:
            process.terminate()


def send(client: Any, queue_url: str) -> None:
    """Sends one batch of messages."""
    entries = [{"Id": str(number), "MessageBody": BODY} for number in range(BATCH_SIZE)]
    client.send_message_batch(QueueUrl=queue_url, Entries=entries)


def fill(client: Any, queue_url: str, backlog: int, target: int) -> int:
    """Sends until the backlog is `target`, or for `FILL_LIMIT_SECONDS`; returns the backlog reached."""
    deadline = time.monotonic() + FILL_LIMIT_SECONDS
    while backlog < target and time.monotonic() < deadline:
        send(client, queue_url)
        backlog += BATCH_SIZE
    return backlog


def sample(client: Any, queue_url: str) -> Timings:
    """Milliseconds of one request of each kind; the backlog is the same afterwards."""
    moments = [time.perf_counter()]
    send(client, queue_url)
    moments.append(time.perf_counter())
    messages = client.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=BATCH_SIZE)["Messages"]
    moments.append(time.perf_counter())
    client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=COUNTS)
    moments.append(time.perf_counter())
    entries = [{"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]} for message in messages]
    client.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    moments.append(time.perf_counter())
    names = ("send 10", "receive 10", "count", "delete 10")
    return {name: (end - start) * 1000 for name, start, end in zip(names, moments[:-1], moments[1:], strict=True)}


def measure(client: Any, queue_url: str) -> Timings:
    """The medians of up to `SAMPLES` samples."""
    samples: list[Timings] = []
    deadline = time.monotonic() + SAMPLING_LIMIT_SECONDS
    while len(samples) < SAMPLES and (len(samples) < MINIMUM_SAMPLES or time.monotonic() < deadline):
        samples.append(sample(client, queue_url))
    return {name: round(statistics.median(each[name] for each in samples), 2) for name in samples[0]}


def run(*options: str) -> dict[int, Timings]:
    """Timings by backlog; ends at the first backlog that cannot be reached in time."""
    timings: dict[int, Timings] = {}
    with emulator(*options) as client:
        # Longer than any run: received messages stay invisible until they are deleted.
        queue_url = client.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
        measure(client, queue_url)  # warm-up of imports, connections and caches
        backlog = 0
        for target in BACKLOGS:
            backlog = fill(client, queue_url, backlog, target)
            timings[backlog] = measure(client, queue_url)
            if backlog < target:
                break
    return timings


def growth(timings: dict[int, Timings]) -> Timings:
    """The cost at the largest backlog, as a multiple of that at the smallest, by operation."""
    smallest, largest = timings[min(timings)], timings[max(timings)]
    return {name: round(largest[name] / smallest[name], 2) for name in smallest}


def table(title: str, timings: dict[int, Timings]) -> Table:
    """A table of the timings."""
    result = Table(title=title)
    result.add_column("milliseconds")
    for backlog in timings:
        result.add_column(f"backlog {backlog:,}", justify="right")
    result.add_column(f"{max(timings):,} : {min(timings):,}", justify="right")
    for name, ratio in growth(timings).items():
        result.add_row(name, *(f"{each[name]:.1f}" for each in timings.values()), f"{ratio:.1f}")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Measures both queues, prints two tables and, where asked to, writes JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_backlog", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    options = parser.parse_args(arguments)
    console = Console()
    indexed = run()
    console.print(table("The embedded queue", indexed))
    plain = run("--plain-queues")
    console.print(table("moto's own queue", plain))
    if max(plain) < BACKLOGS[-1]:
        console.print(
            f"moto's own queue did not reach a backlog of {BACKLOGS[-1]:,} in {FILL_LIMIT_SECONDS:.0f} seconds:"
            " its last column is the backlog reached."
        )
    if options.json:
        results = {
            name: {"milliseconds": timings, "growth": growth(timings)}
            for name, timings in (("indexed", indexed), ("plain", plain))
        }
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
