"""Run the chaos test: classify photos on a local stack under faults, then check that none was lost or doubled.

Workers are killed, the controller is stopped and restarted, and the emulated cloud throttles, fails, delays, cuts
connections and delivers twice (`local_cloud.faults`).  Machines are in trouble (`chaos.troubles`).  In the end the
buckets must hold exactly one result for each accepted photo, and queues and fleet must be empty.  The seed determines
the faults and kills; their timing relative to the program's steps depends on the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from api_client.client import ApiClient
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from aws.queue import JobQueue
from chaos.deadline import POLL_SECONDS, Deadline
from chaos.delivery_check import check_delivery, keep_result_versions, read_result_versions
from chaos.report import ChaosReport, shortfalls
from chaos.sabotage import Saboteur
from chaos.troubles import Troubles, clock_variables
from chaos.uploads import Uploader
from core.errors import CloudError
from local_cloud.fault_control import FaultControl
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.progress import BatchProgress
from local_cloud.stack import LocalStack

# Workers die far more often here than in service.  The cost of a death is bounded by the visibility timeout and by the
# number of jobs that a worker holds; both are small, or some job would use up its deliveries on dying workers.  A low
# target latency launches several instances to choose from, and the janitor runs often enough to be tested, too.
SETTINGS: dict[str, Any] = {
    # The stack is temporary, on loopback, and this test is its only client.
    "authentication": "off",
    "max_size": 4,
    "target_latency_seconds": 0.5,
    "visibility_timeout_seconds": 5,
    "max_jobs_in_hand": 10,
    "scale_in_stabilization_seconds": 2.0,
    "janitor_interval_seconds": 1.0,
    "orphan_age_seconds": 3.0,
    # A killed controller's successor waits for the lease to expire.
    "lease_seconds": 2.0,
}
PARALLEL_REQUESTS = 3


def run_chaos(
    photos: Sequence[Path],
    *,
    seed: int,
    kills: int,
    faults: int,
    troubles: int,
    timeout_seconds: float,
    connect: Callable[[LocalStack], Clients],
    console: Console,
) -> ChaosReport:
    """Runs the test on a local stack of its own.

    Args:
        photos: what to upload.
        kills: the minimum of kills for the run to be valid.
        faults: the minimum of faults, likewise.
        troubles: how many troubles of machines to cause.
        timeout_seconds: time limit until all photos are answered and queues and fleet are empty.
        connect: opens clients of a stack's cloud.

    Raises:
        ElasticError: the stack did not start, or the buckets could not be read in the end.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock_file = Path(folder) / "clock"
        clock_file.write_text("0", "ascii")
        variables = clock_variables(clock_file, os.environ.get("PYTHONPATH", "")) if troubles else {}
        with LocalStack(SETTINGS, faults=seed, variables=variables) as stack:
            saboteur = Saboteur(stack, random.Random(seed), kills)  # noqa: S311 - repeatable, not secret
            trouble = Troubles(stack, saboteur.workers, FaultControl(stack.endpoint_url), clock_file, troubles)
            return _Run(stack, connect(stack), photos, saboteur, trouble, timeout_seconds).run(faults, console)


class _Run:
    """One run on a started stack."""

    def __init__(
        self,
        stack: LocalStack,
        clients: Clients,
        photos: Sequence[Path],
        saboteur: Saboteur,
        troubles: Troubles,
        timeout_seconds: float,
    ) -> None:
        settings = stack.settings
        self._s3 = clients["s3"]
        self._images = ImageStore(self._s3, settings.input_bucket)
        self._results = ResultStore(self._s3, settings.output_bucket)
        self._jobs = JobQueue(clients["sqs"], settings.queue_name)
        self._dead_letters = JobQueue(clients["sqs"], settings.dead_letter_queue_name)
        self._fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)
        self._api = ApiClient(stack.web_url)
        self._faults = FaultControl(stack.endpoint_url)
        self._photos = photos
        self._saboteur = saboteur
        self._troubles = troubles
        self._started = time.monotonic()
        self._deadline = Deadline(timeout_seconds)

    def run(self, min_faults: int, console: Console) -> ChaosReport:
        """Uploads under faults, waits until everything is answered and empty, and compares the buckets."""
        self._deadline.retry(lambda: keep_result_versions(self._s3, self._results.bucket))
        batch_id = self._deadline.retry(self._api.create_batch)
        with (
            FleetSizeHistory(self._fleet) as history,
            BatchProgress(console, len(self._photos), history, lambda: f"{self._saboteur.kills} kills") as progress,
        ):
            uploader = Uploader(self._api, self._jobs, self._saboteur, self._photos, self._deadline, progress.uploaded)
            with self._troubles:
                self._classify(batch_id, uploader, progress)
            self._faults.set(enabled=False)
            progress.show_note("no faults from here on; waiting for an empty queue and no instances")
            problems = self._wait_until_empty(history)
        seconds = round(time.monotonic() - self._started, 1)

        delivery = check_delivery(
            uploader.accepted,
            {stored.key for stored in self._images.list(batch_id)},
            read_result_versions(self._s3, self._results.bucket, f"{batch_id}/"),
        )
        counts, kills = self._faults.counts(), self._saboteur.kills
        by_kind = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        console.print(f"Faults: {by_kind}", highlight=False, soft_wrap=True)
        console.print(f"Troubles: {'; '.join(self._troubles.caused) or 'none'}", highlight=False, soft_wrap=True)
        problems += shortfalls(
            ("photos accepted", len(uploader.accepted), len(self._photos)),
            ("kills", kills, self._saboteur.target_kills),
            ("troubles", len(self._troubles.caused), len(self._troubles.troubles)),
            ("faults", sum(counts.values()), min_faults),
        )
        return ChaosReport(
            accepted=len(uploader.accepted),
            answered=delivery.answered,
            lost=len(delivery.lost),
            doubled=len(delivery.doubled),
            kills=kills,
            troubles=len(self._troubles.caused),
            faults_injected=sum(counts.values()),
            seconds=seconds,
            problems=(*delivery.lost, *delivery.doubled, *problems),
        )

    def _classify(self, batch_id: str, uploader: Uploader, progress: BatchProgress) -> None:
        """Uploads all photos while the saboteur works, until all are answered or the time is over."""
        with ThreadPoolExecutor(1 + PARALLEL_REQUESTS) as pool:
            answers = pool.submit(self._wait_for_answers, batch_id, uploader, progress)
            uploads = [pool.submit(uploader.upload, batch_id, start) for start in uploader.request_starts()]
            try:
                # In this thread: a process ends with the thread that started it, see `local_cloud.processes.spawn`.
                self._saboteur.work()
                answers.result()
            except BaseException:
                self._deadline.expire()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for upload in uploads:
            upload.result()

    def _wait_for_answers(self, batch_id: str, uploader: Uploader, progress: BatchProgress) -> None:
        """Waits until every photo is accepted and answered, or the time is over; then stops the saboteur."""
        answered: set[str] = set()
        try:
            while not self._deadline.passed:
                with contextlib.suppress(CloudError):
                    found = {stored.key for stored in self._results.list(f"{batch_id}/")}
                    progress.answered(len(found) - len(answered))
                    answered = found
                if uploader.complete and uploader.accepted <= answered:
                    return
                time.sleep(POLL_SECONDS)
        finally:
            self._saboteur.stop.set()

    def _wait_until_empty(self, history: FleetSizeHistory) -> list[str]:
        """Waits until queue and fleet are empty; returns a sentence for each that is not when the time is over."""
        problems = []
        while (backlog := self._jobs.backlog()).total and not self._deadline.passed:
            time.sleep(POLL_SECONDS)
        if backlog.total:
            problems.append(f"the job queue holds {backlog.visible} visible and {backlog.in_flight} in-flight jobs")
        if dead := self._dead_letters.backlog().total:
            problems.append(f"the dead-letter queue holds {dead} jobs")
        if not history.wait_for_zero(self._deadline.remaining_seconds):
            problems.append(f"{history.size} instances are left")
        return problems
