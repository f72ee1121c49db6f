"""Measure the latency of server-sent events, from storing a result to its event, with many viewers of one batch."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from api_client.client import ApiClient
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from benchmarks.web_memory import MemoryWatch, answer
from core.errors import ElasticError
from core.jobs import ClassificationJob, new_job_id
from local_cloud.stack import LocalStack

# About as many as a worker on one core stores.
RESULTS_PER_SECOND = 20.0
PERCENTILES = (50, 95, 99)
_TIMEOUT_SECONDS = 120.0
# An event holds up to a hundred results.
_MAX_LINE_BYTES = 1024 * 1024

# A result's key, and when it was stored or a viewer received its event; seconds of `time.perf_counter`.
Moment = tuple[str, float]


def fan_out(stack: LocalStack, clients: Clients, viewers: int, images: Sequence[Path]) -> dict[str, Any]:
    """Connects `viewers` to one batch of `images` while its results are stored one by one; returns the figures.

    Latencies are from the response to the request that stored a result to the viewer's event.

    Raises:
        ElasticError: a viewer was refused, or did not receive each result exactly once.
    """
    api = ApiClient(stack.web_url)
    batch_id = api.create_batch()
    problems = api.upload(batch_id, images, lambda count: None)
    if problems:
        raise ElasticError(f"not stored: {problems[0]}")
    bucket = stack.settings.input_bucket
    jobs = [
        ClassificationJob(new_job_id(), batch_id, bucket, stored.key, "photo.jpg")
        for stored in ImageStore(clients["s3"], bucket).list(batch_id)
    ]
    results = ResultStore(clients["s3"], stack.settings.output_bucket)
    address = f"{stack.web_url}/api/v1/batches/{batch_id}/events"
    with MemoryWatch(stack.process("web-tier").pid) as memory:
        try:
            latencies = asyncio.run(_run(results, jobs, address, viewers))
        except ExceptionGroup as problems_of_viewers:
            raise problems_of_viewers.exceptions[0] from None
        except TimeoutError as error:
            raise ElasticError("the viewers did not receive all results in time") from error
    values = np.percentile(latencies, PERCENTILES)
    return {
        "viewers": viewers,
        "results": len(jobs),
        **{f"p{percent}_ms": round(float(value) * 1000) for percent, value in zip(PERCENTILES, values, strict=True)},
        "peak_rss_mib": round(memory.peak_rss_mib, 1),
    }


def latencies_seconds(stored: Sequence[Moment], received: Sequence[Moment]) -> list[float]:
    """The latency of each result's event for one viewer; 0 if the event came before the response to the storing.

    Raises:
        ElasticError: the viewer did not receive each result exactly once.
    """
    stored_at = dict(stored)
    if sorted(key for key, _ in received) != sorted(stored_at):
        raise ElasticError(f"a viewer received {len(received)} results, not each of {len(stored)} once")
    return [max(0.0, moment - stored_at[key]) for key, moment in received]


async def _run(results: ResultStore, jobs: Sequence[ClassificationJob], address: str, viewers: int) -> list[float]:
    async with asyncio.timeout(_TIMEOUT_SECONDS + len(jobs) / RESULTS_PER_SECOND), asyncio.TaskGroup() as group:
        connected = asyncio.Semaphore(0)
        watching = [group.create_task(_view(address, connected)) for _ in range(viewers)]
        for _ in watching:
            await connected.acquire()
        stored: list[Moment] = []
        started = time.perf_counter()
        for number, job in enumerate(jobs):
            await asyncio.sleep(started + number / RESULTS_PER_SECOND - time.perf_counter())
            await asyncio.to_thread(results.put, answer(job))
            stored.append((job.key, time.perf_counter()))
    return [latency for viewer in watching for latency in latencies_seconds(stored, viewer.result())]


async def _view(address: str, connected: asyncio.Semaphore) -> list[Moment]:
    """Follows a batch to its end; releases `connected` at the first event."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_MAX_LINE_BYTES)
    try:
        # HTTP/1.0: the body is not chunked and ends with the connection.  A thread or a full HTTP client for each
        # viewer would compete with the servers for the processor.
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise ElasticError(f"a viewer was refused: {status.decode('latin-1').strip()}")
        received: list[Moment] = []
        event = b""
        first = True
        async for line in reader:
            name, _, value = line.strip().partition(b": ")
            if name == b"event":
                event = value
                if first:
                    first = False
                    connected.release()
            elif name == b"data" and event == b"results":
                now = time.perf_counter()
                received += [(str(result["key"]), now) for result in json.loads(value)["results"]]
        return received
    finally:
        writer.close()
