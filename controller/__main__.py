"""``python -m controller``: scale the fleet and do the housekeeping, until SIGTERM or SIGINT.

It joins the local stack that runs on this machine, unless the environment names another cloud; `elastic controller` is
the same.  ``--dry-run`` decides and logs the reasons, but launches and terminates nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_queue import BulkQueue
from aws.bulk_requests import BulkRequests
from aws.bulk_runs import BulkRuns
from aws.clients import Clients
from aws.dead_letters import DeadLetters
from aws.fleet import Fleet
from aws.lease import Lease
from aws.metrics import MetricSink
from aws.queue import JobQueue
from aws.state import StateStore
from controller.bulk.planner import BulkPlanner
from controller.bulk.requests import BulkRequestHandler
from controller.housekeeping.deletions import Deletions
from controller.housekeeping.dropped_photos import DroppedPhotos
from controller.housekeeping.empty_batches import INTERVAL_SECONDS, EmptyBatches
from controller.housekeeping.janitor import Janitor
from controller.housekeeping.pace import Pace
from controller.housekeeping.result_tables import ResultTables
from controller.housekeeping.webhook_http import HttpSender
from controller.housekeeping.webhooks import Webhooks
from controller.rollout.store import RolloutPlanner
from controller.scaling.executor import Executor
from controller.scaling.heartbeat_reader import HeartbeatReader
from controller.scaling.instance_tracker import InstanceTracker
from controller.scaling.limits import CurrentLimits
from controller.scaling.observer import Observer
from controller.scaling.policies import POLICIES
from controller.scaling.policy import Limits
from controller.scaling.reconciler import Reconciler, explain
from controller.scaling.schedule import floor_at, parse_schedule
from controller.status.publisher import StatusPublisher
from core import process_setup
from core.bulk_request import AllowedBuckets
from core.bundle_manifest import verify_bundle
from core.cloud_choice import connect, is_on_this_machine
from core.errors import ElasticError
from core.periodic_task import PeriodicTask
from core.process_identity import has_ended, name_process
from core.settings import PREFIX, Settings, split_list

# How many times the heartbeats are listed in the time between two heartbeats of a worker.
LOOKS_PER_HEARTBEAT = 2
# While there are no bulk runs, one of so many rounds looks for one: on AWS, every half minute.
BULK_IDLE_ROUNDS = 6
# A failed pass is soon followed by another; long retries in botocore would let the lease expire.
LOOP_ATTEMPTS = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the controller; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m controller", description="Scales the fleet by the backlog.")
    parser.add_argument("--dry-run", action="store_true", help="decide and explain, but launch and terminate nothing")
    options = parser.parse_args(arguments)
    stop = process_setup.start()
    log = logging.getLogger("controller")
    try:
        if sentence := connect(os.environ).sentence:
            log.info("%s", sentence)
        settings = Settings.from_environment(os.environ)
        check_model(settings, os.environ)
        loop_clients = Clients(max_attempts=LOOP_ATTEMPTS)
        parts = Parts(settings, loop_clients, keep_reports=options.dry_run)
    except ElasticError as error:
        log.error("%s", error)
        return error.exit_status
    if options.dry_run:
        policy = POLICIES[settings.scaling_policy]
        explain(parts.observer, parts.limits, settings.controller_interval_seconds, stop, policy)
        return 0
    pace = Pace(settings.janitor_interval_seconds, time.monotonic)
    tasks = build_housekeeping(settings, Clients(), pace)
    if parts.bulk is not None:
        round_of_bulk = with_requests(settings, parts.state, parts.bulk)
        tasks.append(PeriodicTask("bulk runs", settings.bulk_interval_seconds, round_of_bulk, at_once=True))
    for task in tasks:
        task.start(stop)
    reconciler = build_reconciler(settings, loop_clients, parts, tasks, pace.note)
    reconciler.run(settings.controller_interval_seconds, stop)
    return 0


def check_model(settings: Settings, environment: Mapping[str, str]) -> None:
    """Check the workers' model bundle, if it is a folder on this machine: that of a local stack.

    On AWS it is part of the machine image, and a worker that cannot load it reports that.

    Raises:
        BundleError: no worker could use it.
    """
    if PREFIX + "MODEL_BUNDLE" in environment and is_on_this_machine(environment):
        verify_bundle(Path(settings.model_bundle))


class Parts:
    """The objects that scaling decisions need, wired from settings."""

    def __init__(self, settings: Settings, clients: Clients, *, keep_reports: bool = False) -> None:
        self.state = StateStore(clients["s3"], settings.state_bucket)
        self.fleet = Fleet(
            clients["ec2"],
            settings.launch_template_name,
            settings.fleet_name,
            split_list(settings.instance_types),
            split_list(settings.subnet_ids),
            spot=settings.purchase_option == "spot",
            name_prefix=settings.instance_name_prefix,
        )
        self.tracker = InstanceTracker(
            settings.boot_grace_seconds, settings.heartbeat_timeout_seconds, max_step_seconds=settings.heartbeat_seconds
        )
        reports = HeartbeatReader(
            self.state,
            settings.heartbeat_seconds / LOOKS_PER_HEARTBEAT,
            settings.heartbeat_timeout_seconds,
            time.monotonic,
            keep=keep_reports,
        )
        jobs = JobQueue(clients["sqs"], settings.queue_name)
        self.bulk = build_bulk_planner(settings, clients)
        bulk = () if self.bulk is None else (self.bulk.waiting_images, self.bulk.max_instances, self.bulk.deadlines)
        self.observer = Observer(jobs, self.fleet, reports, self.tracker, time.monotonic, *bulk)
        self.limits = build_limits(settings, self.tracker)


def build_bulk_planner(settings: Settings, clients: Clients) -> BulkPlanner | None:
    """Wire the planner of bulk runs; None where there is no queue of bulk jobs."""
    if not settings.bulk_queue_name:
        return None
    s3 = clients["s3"]
    return BulkPlanner(
        BulkRuns(StateStore(s3, settings.state_bucket), lambda bucket: BulkOutput(s3, bucket)),
        BulkQueue(clients["sqs"], settings.bulk_queue_name),
        lambda run: PhotoSource(s3, run.source_bucket, requester_pays=run.requester_pays),
        settings.orphan_age_seconds,
        idle_rounds=BULK_IDLE_ROUNDS,
    )


def with_requests(settings: Settings, state: StateStore, planner: BulkPlanner) -> Callable[[], None]:
    """Return the round of the bulk planner, after that of the web tier's requests if these are switched on."""
    if settings.bulk_start != "web":
        return planner.round
    own = (settings.input_bucket, settings.state_bucket, settings.output_bucket)
    allowed = AllowedBuckets.of(split_list(settings.bulk_buckets), own, settings.output_bucket)
    handler = BulkRequestHandler(BulkRequests(state), planner.runs, planner.source_of, allowed)

    def both() -> None:
        try:
            if handler.round():
                planner.wake()
        finally:
            planner.round()

    return both


def build_limits(settings: Settings, tracker: InstanceTracker) -> CurrentLimits:
    """Wire the limits from settings.

    Raises:
        SettingsError: the schedule cannot be read.
    """
    base = Limits(
        min_size=settings.min_size,
        max_size=settings.max_size,
        target_latency_seconds=settings.target_latency_seconds,
        mean_service_seconds=settings.mean_service_seconds,
        scale_in_stabilization_seconds=settings.scale_in_stabilization_seconds,
        expected_boot_seconds=settings.expected_boot_seconds,
        scale_out_step=settings.scale_out_step,
        scale_in_step=settings.scale_in_step,
        boot_payback=settings.boot_payback,
        report_seconds=settings.heartbeat_seconds,
    )
    # A malformed schedule is an error at the start, not at the first decision.
    parse_schedule(settings.min_size_schedule)

    def floor() -> int:
        return max(settings.min_size, floor_at(settings.min_size_schedule, datetime.now(UTC)))

    return CurrentLimits(base, tracker, floor, measure_service=bool(settings.measure_service))


def build_reconciler(
    settings: Settings,
    clients: Clients,
    parts: Parts,
    tasks: Sequence[PeriodicTask] = (),
    on_pass: Callable[[bool], None] = lambda quiet: None,
) -> Reconciler:
    """Wire a reconciler from settings; it publishes the health of `tasks`."""
    # Unique for each run: a restarted controller must not believe that it holds the lease of its earlier run, but it
    # knows by the process that this has ended.
    holder = name_process(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
    lease = Lease(parts.state, holder, settings.lease_seconds, time.monotonic, has_ended)
    return Reconciler(
        lease,
        parts.observer,
        parts.limits,
        RolloutPlanner(parts.state, settings.max_size, settings.boot_grace_seconds, time.monotonic, time.time),
        Executor(parts.fleet, lease, parts.tracker, settings.max_size),
        StatusPublisher(
            parts.state,
            MetricSink(clients["cloudwatch"], settings.fleet_name),
            settings,
            holder,
            time.monotonic,
            time.time,
            lambda: tuple(task.health for task in tasks),
        ),
        policy=POLICIES[settings.scaling_policy],
        on_pass=on_pass,
    )


def build_housekeeping(settings: Settings, clients: Clients, pace: Pace) -> list[PeriodicTask]:
    """Wire the housekeeping tasks from settings: the janitor, webhooks, deletions and the like."""
    jobs = JobQueue(clients["sqs"], settings.queue_name)
    dead_letters = DeadLetters(JobQueue(clients["sqs"], settings.dead_letter_queue_name), jobs)
    images = ImageStore(clients["s3"], settings.input_bucket)
    results = ResultStore(clients["s3"], settings.output_bucket)
    janitor = Janitor(jobs, dead_letters, images, results, settings.orphan_age_seconds)
    sender = HttpSender(allow_private=bool(settings.webhook_allow_private))
    webhooks = Webhooks(StateStore(clients["s3"], settings.state_bucket), images, results, sender, time.time)
    index = BatchIndex(clients["s3"], settings.input_bucket)
    deletions = Deletions(index, images, results)
    rounds = {
        "janitor": janitor.round,
        "webhooks": webhooks.round,
        "deletions": deletions.round,
        "result tables": ResultTables(images, results).round,
    }
    tasks = [PeriodicTask(name, settings.janitor_interval_seconds, pace.paced(round)) for name, round in rounds.items()]
    named = settings.compat_keys == "name"
    dropped = DroppedPhotos(jobs, images, results, settings.orphan_age_seconds, named)
    return [
        *tasks,
        PeriodicTask("dropped photos", settings.drop_sweep_seconds, dropped.round),
        PeriodicTask("empty batches", INTERVAL_SECONDS, EmptyBatches(index, images, results).round),
    ]


if __name__ == "__main__":
    sys.exit(main())
