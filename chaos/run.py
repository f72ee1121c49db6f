"""The proof that nothing is lost: photos flow through the real stack while it is being broken on purpose.

Workers are killed, the controller is stopped and started, and the emulated cloud throttles, fails, delays, cuts
connections and delivers twice (`local_cloud.faults`).  In the end the buckets must hold exactly one answer for
each accepted photo, and queues and fleet must be empty.  The seed decides what is done; when exactly it hits, the
machine does.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests
from rich.console import Console

from api_client.client import ApiClient, ApiError
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from aws.queue import JobQueue
from chaos.delivery_check import check_delivery, keep_every_answer, read_answers
from core.errors import CloudError
from local_cloud.faults import CONTROL_PATH
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.processes import Process, kill, stop_all
from local_cloud.progress import BatchProgress
from local_cloud.stack import LocalStack

# A minute sees more deaths here than years would.  What one costs is bounded by the visibility timeout and by what a
# worker holds: both small, or some photo would be in the hands of the dying until its deliveries are used up.  One
# instance for a few photos, so that there are some to choose from; the janitor quick enough to meet its own work.
SETTINGS: dict[str, Any] = {
    # It asks only itself.
    "authentication": "off",
    "max_size": 4,
    "target_latency_seconds": 0.5,
    "visibility_timeout_seconds": 5,
    "max_jobs_in_hand": 10,
    "scale_in_stabilization_seconds": 2.0,
    "janitor_interval_seconds": 1.0,
    "orphan_age_seconds": 3.0,
    # A controller that was killed is replaced by one that has to wait for so long.
    "lease_seconds": 2.0,
}
PHOTOS_PER_REQUEST = 10
PARALLEL_REQUESTS = 3
# Uploads run ahead of the kills by so many photos, so that each kill meets work.
LEAD_PHOTOS = 80
SECONDS_BETWEEN_KILLS = (0.3, 1.7)
KILLS_PER_CONTROLLER_STOP = 5
SECONDS_WITHOUT_CONTROLLER = (0.1, 1.5)
CONTROLLER_STOP_SECONDS = 15.0
POLL_SECONDS = 0.25

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class ChaosReport:
    """What happened; `problems` are sentences, one for each thing that is not as it should be."""

    accepted: int
    answered: int
    lost: int
    doubled: int
    kills: int
    faults_injected: int
    seconds: float
    problems: tuple[str, ...]

    def fields(self) -> dict[str, int | float]:
        """The numbers, by name."""
        return {
            name: getattr(self, name)
            for name in ("accepted", "answered", "lost", "doubled", "kills", "faults_injected", "seconds")
        }


def run_chaos(
    photos: Sequence[Path],
    *,
    seed: int,
    kills: int,
    faults: int,
    timeout_seconds: float,
    connect: Callable[[LocalStack], Clients],
    console: Console,
) -> ChaosReport:
    """Plays one run.

    Args:
        photos: what to upload.
        kills: how many there must be at least for the run to count.
        faults: likewise.
        timeout_seconds: bound on the time until everything is answered and empty.
        connect: opens clients of a stack's cloud.

    Raises:
        ElasticError: the stack did not start, or the buckets could not be read in the end.
    """
    with LocalStack(SETTINGS, faults=seed) as stack:
        return _Run(stack, connect(stack), photos, seed, kills, timeout_seconds).play(faults, console)


class _Run:
    """One run on a started stack."""

    def __init__(
        self,
        stack: LocalStack,
        clients: Clients,
        photos: Sequence[Path],
        seed: int,
        kills: int,
        timeout_seconds: float,
    ) -> None:
        settings = stack.settings
        self._stack = stack
        self._s3 = clients["s3"]
        self._images = ImageStore(self._s3, settings.input_bucket)
        self._results = ResultStore(self._s3, settings.output_bucket)
        self._jobs = JobQueue(clients["sqs"], settings.queue_name)
        self._dead_letters = JobQueue(clients["sqs"], settings.dead_letter_queue_name)
        self._fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)
        self._api = ApiClient(stack.web_url)
        self._faults = _FaultSwitch(stack.endpoint_url)
        self._photos = photos
        self._saboteur = _Saboteur(stack, random.Random(seed), kills)  # noqa: S311 - repeatable, not secret
        self._accepted: set[str] = set()
        self._started = time.monotonic()
        self._deadline = self._started + timeout_seconds

    def play(self, min_faults: int, console: Console) -> ChaosReport:
        """Uploads, breaks, waits and judges."""
        _patiently(lambda: keep_every_answer(self._s3, self._results.bucket), self._deadline)
        batch_id = _patiently(self._api.create_batch, self._deadline)
        with (
            FleetSizeHistory(self._fleet) as history,
            BatchProgress(console, len(self._photos), history, lambda: f"{self._saboteur.kills} kills") as live,
        ):
            self._flow(batch_id, live)
            self._faults.set(enabled=False)
            live.say("undisturbed from here; waiting for an empty queue and no instances")
            problems = self._wait_for_rest(history)
        seconds = round(time.monotonic() - self._started, 1)

        verdict = check_delivery(
            self._accepted,
            {stored.key for stored in self._images.list(batch_id)},
            read_answers(self._s3, self._results.bucket, f"{batch_id}/"),
        )
        counts, kills = self._faults.counts(), self._saboteur.kills
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        console.print(f"Faults: {told}", highlight=False, soft_wrap=True)
        enough = (
            ("photos accepted", len(self._accepted), len(self._photos)),
            ("kills", kills, self._saboteur.wanted),
            ("faults", sum(counts.values()), min_faults),
        )
        problems += [f"only {count} of {wanted} {what}" for what, count, wanted in enough if count < wanted]
        return ChaosReport(
            accepted=len(self._accepted),
            answered=verdict.answered,
            lost=len(verdict.lost),
            doubled=len(verdict.doubled),
            kills=kills,
            faults_injected=sum(counts.values()),
            seconds=seconds,
            problems=(*verdict.lost, *verdict.doubled, *problems),
        )

    def _flow(self, batch_id: str, live: BatchProgress) -> None:
        """Uploads everything while the saboteur works, until all is answered or the time is over."""
        starts = range(0, len(self._photos), PHOTOS_PER_REQUEST)
        with ThreadPoolExecutor(1 + PARALLEL_REQUESTS) as pool:
            answers = pool.submit(self._wait_for_answers, batch_id, live)
            uploads = [pool.submit(self._upload, batch_id, start, live) for start in starts]
            try:
                # In this thread: a controller that another one started would end together with that thread.
                self._saboteur.work()
                answers.result()
            except BaseException:
                self._deadline = time.monotonic()  # nobody waits for the rest any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for upload in uploads:
            upload.result()

    def _upload(self, batch_id: str, start: int, live: BatchProgress) -> None:
        """Uploads one request's photos, those that are not taken in again and again, at the same positions."""
        self._keep_step(start)
        to_do = [(start, self._photos[start : start + PHOTOS_PER_REQUEST])]
        while to_do and time.monotonic() < self._deadline:
            offset, photos = to_do.pop()
            try:
                report = self._api.upload_once(batch_id, offset, photos)
            except ApiError:
                to_do.append((offset, photos))
                time.sleep(POLL_SECONDS)
                continue
            self._accepted.update(entry["key"] for entry in report["accepted"])
            live.uploaded(len(report["accepted"]))
            positions = [entry["position"] for entry in report["not_stored"]]
            to_do += [(position, photos[position - offset : position - offset + 1]) for position in positions]

    def _keep_step(self, position: int) -> None:
        """Holds uploads back until the kills have come as far, unless there is nothing left to do meanwhile."""
        share = (position - LEAD_PHOTOS) / len(self._photos)
        while self._saboteur.kills < share * self._saboteur.wanted and time.monotonic() < self._deadline:
            with contextlib.suppress(CloudError):
                if self._jobs.backlog().total == 0:
                    return
            time.sleep(POLL_SECONDS)

    def _wait_for_answers(self, batch_id: str, live: BatchProgress) -> None:
        """Waits until every photo is accepted and answered, or the time is over; then nothing is left to break."""
        answered: set[str] = set()
        try:
            while time.monotonic() < self._deadline:
                with contextlib.suppress(CloudError):
                    found = {stored.key for stored in self._results.list(f"{batch_id}/")}
                    live.answered(len(found) - len(answered))
                    answered = found
                if len(self._accepted) == len(self._photos) and self._accepted <= answered:
                    return
                time.sleep(POLL_SECONDS)
        finally:
            self._saboteur.stop.set()

    def _wait_for_rest(self, history: FleetSizeHistory) -> list[str]:
        """Waits until job queue and fleet are empty; a sentence for each thing that is not when the time is over."""
        problems = []
        while (backlog := self._jobs.backlog()).total and time.monotonic() < self._deadline:
            time.sleep(POLL_SECONDS)
        if backlog.total:
            problems.append(f"the job queue holds {backlog.visible} visible and {backlog.in_flight} in flight")
        if dead := self._dead_letters.backlog().total:
            problems.append(f"the dead-letter queue holds {dead}")
        if not history.wait_for_zero(max(0.0, self._deadline - time.monotonic())):
            problems.append(f"{history.size} instances are left")
        return problems


class _Saboteur:
    """Kills workers at random, and stops and starts the controller now and then."""

    def __init__(self, stack: LocalStack, dice: random.Random, wanted: int) -> None:
        self.wanted = wanted
        self.kills = 0
        self.stop = threading.Event()
        self._stack = stack
        self._dice = dice
        self._stop_controller = itertools.cycle((kill, _terminate))

    def work(self) -> None:
        """Kills `wanted` workers, or as many as there are until `stop` is set."""
        while self.kills < self.wanted and not self.stop.wait(self._dice.uniform(*SECONDS_BETWEEN_KILLS)):
            workers = sorted(self._workers(), key=lambda process: process.pid)
            if workers and self._kill(self._dice.choice(workers)) and self.kills % KILLS_PER_CONTROLLER_STOP == 0:
                self._restart_controller()

    def _workers(self) -> Iterator[psutil.Process]:
        for process in psutil.Process(self._stack.process("local-cloud").pid).children():
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                if "app_tier" in process.cmdline():
                    yield process

    def _kill(self, process: psutil.Process) -> bool:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
        self.kills += 1
        return True

    def _restart_controller(self) -> None:
        next(self._stop_controller)(self._stack.process("controller"))
        time.sleep(self._dice.uniform(*SECONDS_WITHOUT_CONTROLLER))
        self._stack.start_controller()


def _terminate(process: Process) -> None:
    stop_all([process], CONTROLLER_STOP_SECONDS)


class _FaultSwitch:
    """The fault injector of a running emulator, from outside."""

    _TIMEOUT_SECONDS = 10.0

    def __init__(self, endpoint_url: str) -> None:
        self._url = f"{endpoint_url}{CONTROL_PATH}"

    def set(self, *, enabled: bool) -> None:
        """Switches faults on or off."""
        requests.post(self._url, json={"enabled": enabled}, timeout=self._TIMEOUT_SECONDS).raise_for_status()

    def counts(self) -> dict[str, int]:
        """How many faults of each kind there were."""
        counts: dict[str, int] = requests.get(self._url, timeout=self._TIMEOUT_SECONDS).json()["counts"]
        return counts


def _patiently(call: Callable[[], _Answer], deadline: float) -> _Answer:
    while True:
        try:
            return call()
        except (ApiError, CloudError):
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
