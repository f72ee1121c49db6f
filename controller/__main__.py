"""``python -m controller``: scales the fleet until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import sys

from aws.clients import Clients
from aws.fleet import Fleet
from aws.queue import JobQueue
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
    build_reconciler(settings).run(settings.controller_interval_seconds, stop)
    return 0


def build_reconciler(settings: Settings) -> Reconciler:
    """Wires a reconciler from settings and the environment's cloud."""
    clients = Clients()
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
