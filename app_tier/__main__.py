"""``python -m app_tier``: one worker, until SIGTERM, SIGINT, idleness or a notice that EC2 takes the instance back.

Ends with status 0 when it was stopped, 1 after an error, and `IDLE_STATUS` when there was nothing left to do, for
whoever started it to shut the instance down.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
from pathlib import Path

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodeLimits, decode_image
from app_tier.heartbeat import HeartbeatReporter
from app_tier.interruption import watch_for_interruption
from app_tier.metrics import MetricReporter
from app_tier.worker import Worker, WorkerOptions
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.metadata import InstanceMetadata, MetadataUnavailableError
from aws.metrics import MetricSink
from aws.queue import JobQueue
from aws.state import StateStore
from core import daemon
from core.errors import ElasticError
from core.heartbeat import key_of
from core.settings import Settings

IDLE_STATUS = 10

# They mostly wait for S3.
IO_THREADS_PER_CORE = 4

log = logging.getLogger("app_tier")


def main() -> int:
    """Runs the worker; returns the exit status."""
    stop = daemon.start()
    metadata = InstanceMetadata()
    try:
        settings = Settings.from_environment(os.environ)
        instance = instance_id(metadata)
        clients = Clients(max_connections=io_threads(settings) + 4)
        worker = build_worker(settings, settings.worker_id or instance or socket.gethostname(), clients)
        watch_for_interruption(metadata, stop)
        with heartbeat(settings, clients, worker, instance):
            stopped = worker.run(stop)
    except ElasticError as error:
        log.error("%s", error)
        return 1
    return 0 if stopped else IDLE_STATUS


def instance_id(metadata: InstanceMetadata) -> str | None:
    """This instance's id, or None off EC2."""
    try:
        return metadata.instance_id()
    except MetadataUnavailableError:
        return None


def io_threads(settings: Settings) -> int:
    """How many threads fetch, decode and store."""
    return settings.io_threads or IO_THREADS_PER_CORE * (os.cpu_count() or 1)


def heartbeat(
    settings: Settings, clients: Clients, worker: Worker, instance: str | None
) -> contextlib.AbstractContextManager[None]:
    """Reports to the controller while the worker runs; nothing off EC2, where no controller asks for it."""
    if instance is None:
        return contextlib.nullcontext()
    state = StateStore(clients["s3"], settings.state_bucket)
    put = functools.partial(state.put, key_of(instance))
    return HeartbeatReporter(put, worker.vitals, worker.is_busy, worker.model).beating(settings.heartbeat_seconds)


def build_worker(settings: Settings, worker_id: str, clients: Clients) -> Worker:
    """Wires a worker from settings and a cloud.

    Raises:
        BundleError: the model bundle cannot be used.
    """
    bundle = load_bundle(Path(settings.model_bundle))
    cores = os.cpu_count() or 1
    interpreters = settings.interpreters or cores
    classifier = Classifier(bundle, interpreters, settings.top_k)
    options = WorkerOptions(
        worker_id=worker_id,
        model=bundle.full_name,
        visibility_timeout_seconds=settings.visibility_timeout_seconds,
        receive_wait_seconds=settings.receive_wait_seconds,
        io_threads=io_threads(settings),
        inference_batch_size=settings.inference_batch_size,
        max_jobs_in_hand=settings.max_jobs_in_hand,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
        idle_shutdown_seconds=settings.idle_shutdown_seconds,
    )
    decode = functools.partial(
        decode_image,
        height=bundle.input.height,
        width=bundle.input.width,
        limits=DecodeLimits(settings.max_image_bytes, settings.max_image_pixels, settings.max_aspect_ratio),
    )
    log.info("worker %s runs %s with %d interpreter(s)", options.worker_id, options.model, interpreters)
    return Worker(
        JobQueue(clients["sqs"], settings.queue_name),
        ImageStore(clients["s3"], settings.input_bucket),
        ResultStore(clients["s3"], settings.output_bucket),
        decode,
        classifier,
        options,
        on_report=MetricReporter(MetricSink(clients["cloudwatch"], settings.fleet_name)),
    )


if __name__ == "__main__":
    sys.exit(main())
