"""Run the chaos test of bulk runs: label a bucket under faults, then check that each photo has exactly one row.

Workers are killed while they have jobs in hand, the controller is killed or stopped while it plans, enqueues and
merges, the command is killed, and the emulated cloud throttles, fails, delays, cuts connections and delivers twice.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.text import Text

from aws.bulk_buckets import BulkOutput
from aws.bulk_queue import BulkQueue
from aws.bulk_runs import BulkRuns
from aws.clients import Clients
from aws.fleet import Fleet
from aws.state import StateStore
from chaos.bulk_check import check_tables
from chaos.deadline import POLL_SECONDS, Deadline
from chaos.report import shortfalls
from chaos.run import SETTINGS
from chaos.sabotage import Saboteur
from core.bulk_run import BulkRun
from core.errors import CloudError, ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.fault_control import FaultControl
from local_cloud.resources import create_bucket
from local_cloud.stack import LocalStack

SOURCE, OUTPUT, PREFIX = "chaos-photos", "chaos-labels", "photos/"
# A kill costs what a worker has in hand: two jobs.
SECONDS_BETWEEN_KILLS = (1.0, 3.0)
# Fewer than in service: kills and faults are more frequent, too.
IMAGES_PER_JOB = 50
# Between two looks at the run and at the memory of the processes.
LOOK_SECONDS = 1.0
_UPLOAD_THREADS = 4
_PRINT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class BulkChaosReport:
    """The numbers of a run; `problems` has a sentence for each condition that was not met.

    `controller_rss_mib` and `worker_rss_mib` are the most memory of one process.
    """

    photos: int
    rows: int
    lost: int
    doubled: int
    failed: int
    kills: int
    faults_injected: int
    seconds: float
    controller_rss_mib: float
    worker_rss_mib: float
    problems: tuple[str, ...]

    def fields(self) -> dict[str, int | float]:
        """The numbers, by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "problems"}


def run_bulk_chaos(
    photos: Sequence[Path],
    count: int,
    *,
    seed: int,
    kills: int,
    faults: int,
    timeout_seconds: float,
    connect: Callable[[LocalStack], Clients],
    console: Console,
) -> BulkChaosReport:
    """Runs the test on a local stack of its own.

    Args:
        photos: what is stored, under `count` different keys.
        kills: the minimum of kills for the run to be valid.
        faults: the minimum of faults, likewise.
        timeout_seconds: time limit until the run is over and the fleet is empty.
        connect: opens clients of a stack's cloud.

    Raises:
        ElasticError: the stack did not start, or the buckets could not be read in the end.
    """
    with LocalStack(SETTINGS, faults=seed) as stack:
        clients = connect(stack)
        control = FaultControl(stack.endpoint_url)
        with control.paused():
            _store(clients["s3"], [path.read_bytes() for path in photos], count)
        console.print(f"Stored {count:,} photos.", highlight=False)
        saboteur = Saboteur(stack, random.Random(seed), kills, SECONDS_BETWEEN_KILLS)  # noqa: S311 - repeatable
        run = _Run(stack, clients, saboteur, Deadline(timeout_seconds), console)
        return run.run(count, faults, control)


class _Run:
    """One run on a started stack."""

    def __init__(
        self, stack: LocalStack, clients: Clients, saboteur: Saboteur, deadline: Deadline, console: Console
    ) -> None:
        self._stack = stack
        self._s3 = clients["s3"]
        settings = stack.settings
        self._runs = BulkRuns(StateStore(self._s3, settings.state_bucket), lambda bucket: BulkOutput(self._s3, bucket))
        self._jobs = BulkQueue(clients["sqs"], settings.bulk_queue_name)
        self._fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)
        self._saboteur = saboteur
        self._deadline = deadline
        self._console = console
        self._rss_mib = {"controller": 0.0, "worker": 0.0}

    def run(self, count: int, min_faults: int, control: FaultControl) -> BulkChaosReport:
        """Labels the bucket under faults, waits until the run is over, and compares source and tables."""
        started = time.monotonic()
        run_id = self._start()
        waiting = threading.Thread(target=self._wait, args=(run_id,), name="wait", daemon=True)
        waiting.start()
        try:
            # In this thread: a process ends with the thread that started it, see `local_cloud.processes.spawn`.
            self._saboteur.work()
            while waiting.is_alive():
                waiting.join(LOOK_SECONDS)
        finally:
            self._saboteur.stop.set()
            if waiting.is_alive():
                self._deadline.expire()
        seconds = round(time.monotonic() - started, 1)
        control.set(enabled=False)
        problems = self._problems(run_id)
        report = check_tables(self._s3, SOURCE, PREFIX, OUTPUT, self._runs.get(run_id).output_prefix)
        problems += [f"{key}: lost" for key in report.lost] + [f"{key}: doubled" for key in report.doubled]
        problems += [f"{key}: no photo of the source" for key in report.foreign] + list(report.problems)
        injected, kills = sum(control.counts().values()), self._saboteur.kills
        problems += shortfalls(
            ("photos labelled", report.rows - len(report.failed), count),
            ("kills", kills, self._saboteur.target_kills),
            ("faults", injected, min_faults),
        )
        return BulkChaosReport(
            photos=count,
            rows=report.rows,
            lost=len(report.lost),
            doubled=len(report.doubled),
            failed=len(report.failed),
            kills=kills,
            faults_injected=injected,
            seconds=seconds,
            controller_rss_mib=round(self._rss_mib["controller"]),
            worker_rss_mib=round(self._rss_mib["worker"]),
            problems=tuple(problems),
        )

    def _start(self) -> str:
        """Starts a run by the command, and kills the command once it follows the run; returns the run's id.

        A command that the faults end before it has started the run is started again, as a person would.
        """
        for attempt in range(100):
            output = f"s3://{OUTPUT}/run{'/' if attempt == 0 else f'-{attempt}/'}"
            with contextlib.suppress(CloudError):
                if active := self._runs.active_ids():
                    return active[0]
            arguments = ["bulk", "start", f"s3://{SOURCE}/{PREFIX}", "--output", output]
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments, "--images-per-job", str(IMAGES_PER_JOB)],
                cwd=REPOSITORY_ROOT,
                env=self._stack.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            line = process.stdout.readline().strip() if process.stdout is not None else ""
            process.kill()
            process.communicate()
            if line:
                return line
        raise ElasticError("the run could not be started")

    def _wait(self, run_id: str) -> None:
        """Waits until the run is over, or the time; then stops the saboteur."""
        printed_at = 0.0
        try:
            while not self._deadline.passed:
                run = self._read(run_id)
                self._look()
                if run is not None and not run.is_active:
                    return
                if run is not None and time.monotonic() - printed_at > _PRINT_SECONDS:
                    printed_at = time.monotonic()
                    line = f"{run.done_images:,}/{run.planned_images:,} images, {self._saboteur.kills} kills"
                    self._console.print(Text(line))
                time.sleep(LOOK_SECONDS)
        finally:
            self._saboteur.stop.set()

    def _read(self, run_id: str) -> BulkRun | None:
        with contextlib.suppress(CloudError):
            return self._runs.get(run_id)
        return None

    def _look(self) -> None:
        """Notes the most memory of the processes."""
        with contextlib.suppress(psutil.Error, KeyError):
            controller = psutil.Process(self._stack.process("controller").pid)
            found = [("controller", controller), *(("worker", worker) for worker in self._saboteur.workers())]
            for name, process in found:
                self._rss_mib[name] = max(self._rss_mib[name], process.memory_info().rss / 2**20)

    def _problems(self, run_id: str) -> list[str]:
        """Waits until queue and fleet are empty; returns a sentence for each condition that is not met."""
        problems = []
        run = self._runs.get(run_id)
        if run.status != "complete":
            problems.append(f"the run is {run.status} after {run.done_images} images: {run.problem}")
        while self._jobs.backlog().total and not self._deadline.passed:
            time.sleep(POLL_SECONDS)
        if left := self._jobs.backlog().total:
            problems.append(f"the queue holds {left} bulk jobs")
        while self._fleet.describe() and not self._deadline.passed:
            time.sleep(POLL_SECONDS)
        # The planner deletes parts that are stored late as long as it has the run in its list.
        while run_id in self._runs.active_ids() and not self._deadline.passed:
            time.sleep(POLL_SECONDS)
        if left := len(self._fleet.describe()):
            problems.append(f"{left} instances are left")
        return problems


def _store(s3: Any, bodies: Sequence[bytes], count: int) -> None:
    for bucket in (SOURCE, OUTPUT):
        create_bucket(s3, bucket)

    def put(number: int) -> None:
        s3.put_object(Bucket=SOURCE, Key=f"{PREFIX}{number:07}.jpg", Body=bodies[number % len(bodies)])

    with ThreadPoolExecutor(_UPLOAD_THREADS) as pool:
        for _ in pool.map(put, range(count)):
            pass
