"""Run the soak: a photo a second and a kill a minute for a long time; memory, open files and disk must not grow.

Workers are killed; the one that was started first, the controller and the web tier live on, so that their memory shows
a leak.  A minute's photos are a batch.  Each batch is checked, from S3, for exactly one result of each photo; then its
objects expire, as by the buckets' lifecycle rules, which the emulator does not carry out.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from api_client.client import ApiClient
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from chaos.deadline import Deadline
from chaos.delivery_check import check_delivery, delete_versions_before, keep_result_versions, read_result_versions
from chaos.report import shortfalls
from chaos.sabotage import Saboteur
from chaos.soak_samples import Samples
from chaos.trend import Trend
from core.errors import ElasticError
from core.periodic_task import PeriodicTask
from local_cloud.log_files import LogLimits
from local_cloud.stack import LocalStack

SETTINGS: dict[str, Any] = {
    # As in `chaos.run`: the stack is temporary, on loopback, and this test is its only client.
    "authentication": "off",
    # Two, of which the younger is killed.
    "min_size": 2,
    "max_size": 3,
}
PHOTOS_A_BATCH = 60
SECONDS_BETWEEN_KILLS = (45.0, 75.0)
# Far longer than a killed worker's job takes to become visible again.
ANSWER_SECONDS = 180.0
EXPIRY_SECONDS = 300.0
# Small enough to be reached in some minutes.
LOG_LIMITS = LogLimits(max_bytes=64 * 1024, instance_logs=10)
MOST_SAMPLES = 360
LEAST_SAMPLE_SECONDS = 2.0
# At least this share of the kills that are due on average.
KILL_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class SoakReport:
    """The numbers of a soak; `problems` has a sentence for each condition that was not met.

    Attributes:
        trends: by process and quantity.
    """

    photos: int
    answered: int
    lost: int
    doubled: int
    kills: int
    seconds: float
    trends: dict[tuple[str, str], Trend | None]
    problems: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """The numbers, by name."""
        numbers = {name: getattr(self, name) for name in ("photos", "answered", "lost", "doubled", "kills", "seconds")}
        trends = [
            {
                "process": process,
                "quantity": quantity,
                "median": round(found.median, 1),
                "growth": round(found.growth, 2),
                "limit": round(found.limit, 2),
                "per_hour": round(found.per_hour, 2),
            }
            for (process, quantity), found in self.trends.items()
            if found is not None
        ]
        return {**numbers, "trends": trends}


def run_soak(
    photos: Sequence[Path],
    minutes: float,
    *,
    seed: int,
    connect: Callable[[LocalStack], Clients],
    console: Console,
) -> SoakReport:
    """Runs the soak on a local stack of its own.

    Args:
        photos: what is uploaded, again and again.
        minutes: how long photos are uploaded.
        connect: opens clients of a stack's cloud.

    Raises:
        ElasticError: the stack did not start, or a process of it ended.
    """
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        settings = {**SETTINGS, "model_cache": str(folder / "models")}
        with LocalStack(
            settings, log_directory=folder / "log", log_limits=LOG_LIMITS, variables={"TMPDIR": str(folder / "tmp")}
        ) as stack:
            return _Soak(stack, connect(stack), photos, seed, console).run(minutes, folder)


class _Soak:
    """One soak on a started stack."""

    def __init__(
        self, stack: LocalStack, clients: Clients, photos: Sequence[Path], seed: int, console: Console
    ) -> None:
        settings = stack.settings
        self._stack = stack
        self._s3 = clients["s3"]
        self._images = ImageStore(self._s3, settings.input_bucket)
        self._results = ResultStore(self._s3, settings.output_bucket)
        self._api = ApiClient(stack.web_url)
        self._photos = photos
        self._console = console
        self._accepted: set[str] = set()
        self._answered = 0
        self._lost: list[str] = []
        self._doubled: list[str] = []
        self._problems: list[str] = []
        # Kills go on until `stop` is set.
        self._saboteur = Saboteur(
            stack,
            random.Random(seed),  # noqa: S311 - repeatable, not secret
            2**31,
            SECONDS_BETWEEN_KILLS,
            kills_per_controller_stop=0,
            only_youngest=True,
        )

    def run(self, minutes: float, folder: Path) -> SoakReport:
        """Uploads, kills and samples for `minutes`, then waits for the last batch."""
        started = time.monotonic()
        keep_result_versions(self._s3, self._results.bucket)
        samples = Samples(self._stack, self._saboteur, folder)
        interval = max(LEAST_SAMPLE_SECONDS, minutes * 60 / MOST_SAMPLES)
        sampling = PeriodicTask("samples", interval, samples.take, at_once=True).start(self._saboteur.stop)
        uploads = threading.Thread(target=self._upload_all, args=(minutes,), name="uploads", daemon=True)
        uploads.start()
        try:
            # In this thread: a process ends with the thread that started it, see `local_cloud.processes.spawn`.
            self._saboteur.work()
            uploads.join()
            sampling.join()
        finally:
            self._saboteur.stop.set()
        seconds = time.monotonic() - started
        if ended := self._stack.failed_process():
            raise ElasticError(f"the process {ended} has ended")
        trends = samples.trends()
        growing = [
            f"{process}, {quantity}: grew by {found.growth:.1f}, more than {found.limit:.1f}, from {found.median:.1f}"
            for (process, quantity), found in trends.items()
            if found is not None and not found.is_flat
        ]
        kills = self._saboteur.kills
        shortfall = shortfalls(
            ("photos accepted", len(self._accepted), round(minutes * 60)),
            ("photos answered", self._answered, len(self._accepted)),
            ("kills", kills, int(KILL_SHARE * minutes)),
        )
        return SoakReport(
            photos=len(self._accepted),
            answered=self._answered,
            lost=len(self._lost),
            doubled=len(self._doubled),
            kills=kills,
            seconds=round(seconds, 1),
            trends=trends,
            problems=(*self._lost, *self._doubled, *self._problems, *growing, *shortfall),
        )

    def _upload_all(self, minutes: float) -> None:
        """Uploads a photo a second, a batch a minute; each batch is checked while the next one is uploaded."""
        total = round(minutes * 60)
        try:
            started = time.monotonic()
            with ThreadPoolExecutor(1) as checks:
                for first in range(0, total, PHOTOS_A_BATCH):
                    batch_id = Deadline(ANSWER_SECONDS).retry(self._api.create_batch)
                    numbers = range(first, min(first + PHOTOS_A_BATCH, total))
                    keys = {self._upload(batch_id, number - first, number, started + number) for number in numbers}
                    checks.submit(self._check, batch_id, keys)
                    self._expire()
        except Exception as error:  # in a thread: the report has it
            self._problems.append(f"the uploads ended: {error!r}")
        finally:
            self._saboteur.stop.set()

    def _upload(self, batch_id: str, position: int, number: int, due_at: float) -> str:
        """Uploads a photo when it is due; returns its key."""
        time.sleep(max(0.0, due_at - time.monotonic()))
        photo = self._photos[number % len(self._photos)]
        report = Deadline(ANSWER_SECONDS).retry(lambda: self._api.upload_once(batch_id, position, [photo]))
        for refused in report["not_stored"]:
            raise ElasticError(f"{photo.name} was not stored: {refused['error']}")
        key: str = report["accepted"][0]["key"]
        self._accepted.add(key)
        return key

    def _check(self, batch_id: str, keys: set[str]) -> None:
        """Waits for the batch's results, compares the buckets, and looks at pages as people do."""
        try:
            answered = sum(1 for _ in self._api.follow(batch_id, len(keys), ANSWER_SECONDS))
            for path in (f"/batches/{batch_id}", "/fleet", "/metrics"):
                requests.get(self._stack.web_url + path, timeout=60).raise_for_status()
            report = check_delivery(
                keys,
                {stored.key for stored in self._images.list(batch_id)},
                read_result_versions(self._s3, self._results.bucket, f"{batch_id}/"),
            )
        except Exception as error:  # in a thread: the report has it
            self._problems.append(f"{batch_id}: {error!r}")
            return
        self._answered += report.answered
        self._lost += report.lost
        self._doubled += report.doubled
        total = f"{self._answered:,} photos answered, {self._saboteur.kills} kills"
        self._console.print(f"{answered} of {len(keys)} photos of {batch_id}; {total}.", highlight=False)

    def _expire(self) -> None:
        """Deletes objects of a certain age, as lifecycle rules do."""
        before = datetime.now(UTC) - timedelta(seconds=EXPIRY_SECONDS)
        for bucket in (self._images.bucket, self._results.bucket):
            delete_versions_before(self._s3, bucket, before)
