"""``python -m app_tier``: run one worker until SIGTERM, SIGINT, idleness or an interruption notice of EC2.

The exit status is 0 when it was stopped, 1 after an error, and `IDLE_STATUS` after being idle, so that the parent
process can shut the instance down.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app_tier.bulk_lane import WAIT_SECONDS, BulkLane
from app_tier.bundle import ModelBundle, load_bundle
from app_tier.classifier import Classifier
from app_tier.decode import DecodedImage, DecodeLimits, decode_file, needs_own_process
from app_tier.fleet_start import running_since
from app_tier.heartbeat import HeartbeatReporter, report_failure
from app_tier.interruption import watch_for_interruption
from app_tier.metrics import MetricReporter
from app_tier.prediction_stats import PredictionStats
from app_tier.release import Assignment, assignment, find_bundle
from app_tier.shadow import ShadowRunner
from app_tier.smoke_test import run_apart, smoke_test
from app_tier.statistics import Report
from app_tier.worker import Worker, WorkerOptions
from aws.buckets import ImageStore, ResultStore
from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_queue import BulkQueue
from aws.clients import Clients
from aws.metadata import InstanceMetadata, MetadataUnavailableError
from aws.metrics import MetricSink
from aws.models import ModelStore
from aws.queue import JobQueue
from aws.response_queue import ResponseQueue
from aws.state import StateStore
from core import process_setup
from core.errors import BundleError, CloudError, ElasticError, UnsupportedImageError
from core.fleet_status import KEY as STATUS_KEY
from core.heartbeat import key_of
from core.image_layouts import answer_line
from core.jobs import ClassificationResult
from core.settings import Settings
from core.shadow import KEY as SHADOW_KEY

IDLE_STATUS = 10

# More threads than cores, since they mostly wait for S3.
IO_THREADS_PER_CORE = 4

log = logging.getLogger("app_tier")


def main() -> int:
    """Run the worker; returns the exit status."""
    process_setup.pause_collection()
    stop = process_setup.start()
    metadata = InstanceMetadata()
    try:
        settings = Settings.from_environment(os.environ)
        instance = instance_id(metadata)
        assigned = assignment(metadata, stop, time.monotonic) if instance else Assignment()
        clients = Clients(max_connections=io_threads(settings) + 6)
        state = StateStore(clients["s3"], settings.state_bucket)
        put = functools.partial(state.put, key_of(instance, settings.worker_role_id)) if instance else None
        try:
            bundle, classifier = load(settings, assigned, state, stop)
        except (BundleError, CloudError) as error:
            log.error("%s", error)
            if put is not None:
                report_failure(put, assigned, str(error), settings.heartbeat_seconds, stop)
            return 1
        tally, shadow = PredictionStats(), build_shadow(settings, state, clients, bundle)

        def on_answer(result: ClassificationResult) -> None:
            tally(result)
            shadow(result)

        def quality() -> dict[str, Any]:
            seen = shadow.agreement
            return {
                "answers": tally.counts(),
                "shadow_model": seen.model,
                "shadow_compared": seen.compared,
                "shadow_agreed": seen.agreed,
            }

        name = settings.worker_id or instance or socket.gethostname()
        fleet_running_since = running_since(functools.partial(read_object, state, STATUS_KEY), time.time())
        worker = build_worker(settings, name, clients, classifier, on_answer, fleet_running_since)
        if instance:
            watch_for_interruption(metadata, stop)
            shadow.start(settings.heartbeat_seconds, stop)
        with contextlib.ExitStack() as stack:
            if put is not None:  # without an instance, no controller reads heartbeats
                reporter = HeartbeatReporter(
                    put,
                    worker.vitals,
                    worker.idle_seconds,
                    bundle.full_name,
                    release=assigned.release,
                    more=quality,
                )
                stack.enter_context(reporter.beating(settings.heartbeat_seconds))
            process_setup.resume_collection()
            log.info("ready after %.2f s of CPU time", time.process_time())
            stopped = worker.run(stop)
    except ElasticError as error:
        log.error("%s", error)
        return 1
    return 0 if stopped else IDLE_STATUS


def instance_id(metadata: InstanceMetadata) -> str | None:
    """This instance's id, or None outside EC2."""
    try:
        return metadata.instance_id()
    except MetadataUnavailableError:
        return None


def io_threads(settings: Settings) -> int:
    """The number of threads that fetch, decode and store."""
    return settings.io_threads or IO_THREADS_PER_CORE * (os.cpu_count() or 1)


def load(
    settings: Settings, assigned: Assignment, state: StateStore, stop: threading.Event
) -> tuple[ModelBundle, Classifier]:
    """Load the assigned model and run its smoke test: first in another process, where a crash harms nothing.

    Raises:
        BundleError: the model does not exist, is damaged, cannot be run or fails its smoke test.
        CloudError: the model store could not be reached.
    """
    cache = model_cache(settings)
    folder = find_bundle(assigned.model, Path(settings.model_bundle), cache, ModelStore(state), stop, time.monotonic)
    bundle = load_bundle(folder)
    if folder != Path(settings.model_bundle):
        run_apart(folder)  # the image's own was tried when the image was made
    interpreters = settings.interpreters or os.cpu_count() or 1
    classifier = Classifier(bundle, interpreters, settings.top_k)
    label = smoke_test(classifier, decoder_for(bundle, settings))
    log.info("%s passed its smoke test (%r), %d interpreter(s)", bundle.full_name, label, interpreters)
    return bundle, classifier


def decoder_for(bundle: ModelBundle, settings: Settings) -> Callable[[bytes], DecodedImage]:
    """Return a picklable function that decodes a file's bytes to pixels of a bundle's input size."""
    return functools.partial(
        decode_file,
        height=bundle.input.height,
        width=bundle.input.width,
        limits=DecodeLimits(
            settings.max_image_bytes,
            settings.max_image_pixels,
            settings.max_aspect_ratio,
            settings.decode_memory_bytes,
        ),
    )


def build_shadow(settings: Settings, state: StateStore, clients: Clients, own: ModelBundle) -> ShadowRunner:
    """Wire shadow mode from settings and cloud clients."""
    images = ImageStore(clients["s3"], settings.input_bucket, settings.max_image_bytes)

    def load_candidate(model: str) -> Callable[[bytes], str]:
        folder = ModelStore(state).fetch(model, model_cache(settings), Path(settings.model_bundle))
        bundle = load_bundle(folder)
        run_apart(folder)
        classifier, decode = Classifier(bundle, 1, 1), decoder_for(bundle, settings)
        smoke_test(classifier, decode)

        def label(body: bytes) -> str:
            if needs_own_process(body):
                raise UnsupportedImageError("not compared: it is decoded in another process")
            return classifier.classify([decode(body).pixels])[0][0].label

        return label

    read = functools.partial(read_object, state, SHADOW_KEY)
    return ShadowRunner(read, load_candidate, lambda key: images.get(key), own.full_name)


def read_object(state: StateStore, key: str) -> bytes | None:
    """Read an object in the state bucket; None where it does not exist."""
    found = state.get(key)
    return None if found is None else found.body


def model_cache(settings: Settings) -> Path:
    """The folder that caches models from the model store."""
    return Path(settings.model_cache or tempfile.gettempdir()) / "elastic-models"


def build_worker(
    settings: Settings,
    worker_id: str,
    clients: Clients,
    classifier: Classifier,
    on_answer: Callable[[ClassificationResult], None] = lambda result: None,
    fleet_running_since: float = 0.0,
) -> Worker:
    """Wire a worker from settings, cloud clients and a model; see `Worker`."""
    bundle = classifier.bundle
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
        decode_memory_bytes=settings.decode_memory_bytes,
        results_per_object=settings.results_per_object,
    )
    log.info("worker %s runs %s", options.worker_id, options.model)
    return Worker(
        JobQueue(clients["sqs"], settings.queue_name),
        ImageStore(clients["s3"], settings.input_bucket, settings.max_image_bytes),
        ResultStore(clients["s3"], settings.output_bucket),
        decoder_for(bundle, settings),
        classifier,
        options,
        on_report=metric_reporter(settings, clients),
        on_answer=on_answer,
        fleet_running_since=fleet_running_since,
        respond=responder(settings, clients),
        bulk=build_bulk_lane(settings, clients, options.model),
    )


def build_bulk_lane(settings: Settings, clients: Clients, model: str) -> BulkLane | None:
    """Wire the bulk lane; None where there is no queue of bulk jobs."""
    if not settings.bulk_queue_name:
        return None
    s3 = clients["s3"]
    return BulkLane(
        BulkQueue(clients["sqs"], settings.bulk_queue_name),
        lambda bucket, pays: PhotoSource(s3, bucket, settings.max_image_bytes, requester_pays=pays),
        lambda bucket: BulkOutput(s3, bucket),
        model,
        settings.visibility_timeout_seconds,
        # Of a local stack, whose polls cost nothing, and whose workers end sooner.
        min(WAIT_SECONDS, 4 * settings.receive_wait_seconds),
    )


def metric_reporter(settings: Settings, clients: Clients) -> Callable[[Report], None]:
    """Return a function that reports a worker's metrics to CloudWatch, unless the settings switch them off."""
    if not settings.metrics_interval_seconds:
        return lambda report: None
    return MetricReporter(MetricSink(clients["cloudwatch"], settings.fleet_name))


def responder(settings: Settings, clients: Clients) -> Callable[[ClassificationResult], None]:
    """Return a function that sends a result to the response queue, if there is one.

    Raises:
        CloudError: it does not exist, so that no answer could be sent.
    """
    if not settings.response_queue_name:
        return lambda result: None
    responses = ResponseQueue(clients["sqs"], settings.response_queue_name)
    responses.check()
    return lambda result: responses.send(answer_line(result.name, result.answer, settings.compat_answer))


if __name__ == "__main__":
    sys.exit(main())
