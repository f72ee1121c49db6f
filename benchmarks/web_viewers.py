"""Server-sent events to many viewers of one batch: how long after a result is stored each of them is told."""

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

# As many as a worker on one core may answer.
RESULTS_PER_SECOND = 20.0
PERCENTILES = (50, 95, 99)
_TIMEOUT_SECONDS = 120.0
# An event tells of up to a hundred results.
_MAX_LINE_BYTES = 1024 * 1024

# A result's key, and when it was stored or when a viewer was told; seconds of `time.perf_counter`.
Moment = tuple[str, float]


def fan_out(stack: LocalStack, clients: Clients, viewers: int, images: Sequence[Path]) -> dict[str, Any]:
    """Lets `viewers` follow one batch of `images` while its results are stored one by one; returns the figures.

    Latencies are from the answer to the request that stored a result to the event that tells a viewer of it.

    Raises:
        ElasticError: a viewer was not let in, or was not told of each result exactly once.
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
            raise ElasticError("the viewers were not told of all results in time") from error
    values = np.percentile(latencies, PERCENTILES)
    return {
        "viewers": viewers,
        "results": len(jobs),
        **{f"p{percent}_ms": round(float(value) * 1000) for percent, value in zip(PERCENTILES, values, strict=True)},
        "peak_rss_mib": round(memory.peak_rss_mib, 1),
    }


def latencies_seconds(stored: Sequence[Moment], told: Sequence[Moment]) -> list[float]:
    """How long after it was stored a viewer was told of each result; 0 where it was told before the storer was.

    Raises:
        ElasticError: it was not told of each result exactly once.
    """
    stored_at = dict(stored)
    if sorted(key for key, _ in told) != sorted(stored_at):
        raise ElasticError(f"a viewer was told of {len(told)} results, not of each of {len(stored)} once")
    return [max(0.0, moment - stored_at[key]) for key, moment in told]


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
    """Follows a batch to its end; releases `connected` when the first event has come."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=_MAX_LINE_BYTES)
    try:
        # HTTP/1.0: the body comes without chunks and ends with the connection.  200 threads or a full HTTP client for
        # each viewer would take the processor from the servers.
        writer.write(f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise ElasticError(f"a viewer was not let in: {status.decode('latin-1').strip()}")
        told: list[Moment] = []
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
                told += [(str(result["key"]), now) for result in json.loads(value)["results"]]
        return told
    finally:
        writer.close()
