"""``python -m app_tier``: one worker, until SIGTERM or SIGINT."""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
from pathlib import Path

from app_tier.bundle import load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import decode_image
from app_tier.worker import Worker, WorkerOptions
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.queue import JobQueue
from core import daemon
from core.errors import ElasticError
from core.settings import Settings


def main() -> int:
    """Runs the worker; returns the exit status."""
    stop = daemon.start()
    try:
        settings = Settings.from_environment(os.environ)
        build_worker(settings).run(stop)
    except ElasticError as error:
        logging.getLogger("app_tier").error("%s", error)
        return 1
    return 0


def build_worker(settings: Settings) -> Worker:
    """Wires a worker from settings and the environment's cloud.

    Raises:
        BundleError: the model bundle cannot be used.
    """
    bundle = load_bundle(Path(settings.model_bundle))
    threads = settings.interpreter_threads or os.cpu_count() or 1
    classifier = Classifier(bundle, threads, settings.top_k)
    clients = Clients(max_connections=settings.io_threads + 4)
    options = WorkerOptions(
        worker_id=settings.worker_id or socket.gethostname(),
        model=bundle.full_name,
        visibility_timeout_seconds=settings.visibility_timeout_seconds,
        receive_wait_seconds=settings.receive_wait_seconds,
        io_threads=settings.io_threads,
        inference_batch_size=settings.inference_batch_size,
        max_jobs_in_hand=settings.max_jobs_in_hand,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
    )
    decode = functools.partial(
        decode_image,
        height=bundle.input.height,
        width=bundle.input.width,
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_image_pixels,
    )
    logging.getLogger("app_tier").info(
        "worker %s runs %s with %d interpreter thread(s)", options.worker_id, options.model, threads
    )
    return Worker(
        JobQueue(clients["sqs"], settings.queue_name),
        ImageStore(clients["s3"], settings.input_bucket),
        ResultStore(clients["s3"], settings.output_bucket),
        decode,
        classifier,
        options,
    )


if __name__ == "__main__":
    sys.exit(main())
