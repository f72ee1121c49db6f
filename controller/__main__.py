"""``python -m controller``: scales the fleet, and looks after lost jobs, until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import sys
import threading

from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.dead_letters import DeadLetters
from aws.fleet import Fleet
from aws.queue import JobQueue
from controller.janitor import Janitor
from controller.policy import Limits
from controller.reconciler import Reconciler
from core import daemon
from core.errors import ElasticError
from core.settings import Settings


def main() -> int:
    """Runs the controller; returns the exit status."""
    stop = daemon.start()
    try:
        settings = Settings.from_environment(os.environ)
    except ElasticError as error:
        logging.getLogger("controller").error("%s", error)
        return 1
    clients = Clients()
    janitor = build_janitor(settings, clients)
    threading.Thread(target=janitor.run, args=(settings.janitor_interval_seconds, stop), daemon=True).start()
    build_reconciler(settings, clients).run(settings.controller_interval_seconds, stop)
    return 0


def build_janitor(settings: Settings, clients: Clients) -> Janitor:
    """Wires a janitor from settings."""
    jobs = JobQueue(clients["sqs"], settings.queue_name)
    return Janitor(
        jobs,
        DeadLetters(JobQueue(clients["sqs"], settings.dead_letter_queue_name), jobs),
        ImageStore(clients["s3"], settings.input_bucket),
        ResultStore(clients["s3"], settings.output_bucket),
        settings.orphan_age_seconds,
    )


def build_reconciler(settings: Settings, clients: Clients) -> Reconciler:
    """Wires a reconciler from settings."""
    limits = Limits(
        min_size=settings.min_size,
        max_size=settings.max_size,
        target_latency_seconds=settings.target_latency_seconds,
        mean_service_seconds=settings.mean_service_seconds,
        scale_in_stabilization_seconds=settings.scale_in_stabilization_seconds,
    )
    return Reconciler(
        JobQueue(clients["sqs"], settings.queue_name),
        Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name),
        limits,
    )


if __name__ == "__main__":
    sys.exit(main())
