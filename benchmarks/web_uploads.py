"""Measure uploads to the web tier and to the bare handler, in turns."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from api_client.client import IMAGES_PER_REQUEST, ApiClient
from aws.clients import Clients
from aws.objects import delete_below
from benchmarks.web_bare import bare_server
from benchmarks.web_load import Load, Plan, send
from local_cloud.stack import LocalStack

PERCENTILES = (50, 95, 99)
WEB, BARE = "web", "bare"


@dataclass(frozen=True, slots=True)
class Case:
    """The load of one turn: concurrent `clients`, their `requests` together, and `images_per_request`."""

    clients: int
    requests: int
    images_per_request: int = IMAGES_PER_REQUEST


@dataclass(slots=True)
class Measured:
    """The measurements of one case: each contender's turns, in their order."""

    case: Case
    loads: dict[str, list[Load]] = field(default_factory=lambda: {WEB: [], BARE: []})

    def summary(self) -> dict[str, Any]:
        """Medians over the turns; percentiles, in milliseconds, over all their requests.

        `ratio` is the median of the ratios of the two turns of each round.
        """
        images = self.case.requests * self.case.images_per_request
        speeds = {name: [images / load.seconds for load in loads] for name, loads in self.loads.items()}
        ratios = [web / bare for web, bare in zip(speeds[WEB], speeds[BARE], strict=True)]
        return {
            "clients": self.case.clients,
            "images_per_request": self.case.images_per_request,
            "requests": self.case.requests * len(ratios),
            "uploads_per_second": round(statistics.median(speeds[WEB]), 1),
            "bare_uploads_per_second": round(statistics.median(speeds[BARE]), 1),
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            **_percentiles(self.loads[WEB], ""),
            **_percentiles(self.loads[BARE], "bare_"),
        }


def _percentiles(loads: Sequence[Load], prefix: str) -> dict[str, float]:
    latencies = [latency for load in loads for latency in load.latencies_seconds]
    values = np.percentile(latencies, PERCENTILES)
    return {
        f"{prefix}p{percent}_ms": round(float(value) * 1000, 1)
        for percent, value in zip(PERCENTILES, values, strict=True)
    }


def headline(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The summary with the smallest ratio among the cases with the page's number of images a request."""
    return _worst(summaries, IMAGES_PER_REQUEST)


def single_ratio(summaries: Sequence[dict[str, Any]]) -> float:
    """The smallest ratio among the cases with one image a request."""
    return float(_worst(summaries, 1)["ratio"])


def _worst(summaries: Sequence[dict[str, Any]], images_per_request: int) -> dict[str, Any]:
    like_these = [found for found in summaries if found["images_per_request"] == images_per_request]
    return min(like_these, key=lambda found: float(found["ratio"]))


def compare(
    stack: LocalStack,
    clients: Clients,
    cases: Sequence[Case],
    rounds: int,
    photos: Sequence[Path],
    log_directory: Path,
    console: Console,
) -> list[dict[str, Any]]:
    """Measures each case; returns the summaries.  In each round both contenders have a turn, in alternating order."""
    measured = [Measured(case) for case in cases]
    names = [str(path) for path in photos]
    api = ApiClient(stack.web_url)
    with bare_server(stack, log_directory) as bare_url:

        def turn(contender: str, case: Case) -> Load:
            if contender == BARE:
                base_url, paths = bare_url, ["/"] * case.clients
            else:
                base_url = stack.web_url
                paths = [f"/api/v1/batches/{api.create_batch()}/images" for _ in range(case.clients)]
            load = send(Plan(base_url, paths, case.requests, case.images_per_request, names))
            _clear(stack, clients)
            return load

        for contender in (WEB, BARE):
            turn(contender, Case(clients=10, requests=20))
        for number in range(rounds):
            for of_case in measured:
                for contender in (WEB, BARE) if number % 2 else (BARE, WEB):
                    of_case.loads[contender].append(turn(contender, of_case.case))
                _print_round(console, number, of_case)
    return [of_case.summary() for of_case in measured]


def _clear(stack: LocalStack, clients: Clients) -> None:
    """Empties the buckets and the queue, so that a turn does not affect the next ones."""
    delete_below(clients["s3"], stack.settings.input_bucket, "")
    sqs = clients["sqs"]
    # SQS purges at most once a minute; a few thousand more jobs matter little, see `benchmarks.queue_backlog`.
    with contextlib.suppress(sqs.exceptions.PurgeQueueInProgress):
        sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=stack.settings.queue_name)["QueueUrl"])


def _print_round(console: Console, number: int, measured: Measured) -> None:
    case = measured.case
    images = case.requests * case.images_per_request
    web, bare = (images / measured.loads[name][-1].seconds for name in (WEB, BARE))
    console.print(
        f"round {number + 1}, {case.clients} clients, {case.images_per_request} images a request: "
        f"{web:.0f} images/s, bare {bare:.0f}, ratio {web / bare:.2f}",
        highlight=False,
    )
