"""Benchmark of rollouts: waits and lost results at a constant load, while the fleet changes its model and back.

``python -m benchmarks.rollout [--json FILE]``, or ``elastic bench rollout``.

A local stack with two workers or more; each photo is a `POST /api/v1/classify` of its own, sent at its scheduled time
whether or not earlier ones are answered.  In turn: steady, promote, steady, a broken version (which is rolled back
automatically), steady, rollback.  Afterwards the buckets must hold one result for each photo that was accepted.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import requests
from rich.console import Console

from aws.buckets import ImageStore, ResultStore, list_objects
from aws.clients import Clients
from aws.fleet import Fleet
from aws.models import ModelStore
from aws.releases import ReleaseStore
from aws.state import StateStore
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.worker_process import cloud_environment
from chaos.delivery_check import check_delivery, keep_result_versions, read_result_versions
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from core.releases import Phase, ReleaseRecord
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.stack import LocalStack

PROMOTED, BROKEN = "promoted", "broken"
ROLLOUT_SECONDS = 120.0
MAX_RATIO = 1.5
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
_THREADS = 64
_POLL_SECONDS = 0.1
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One photo: when it was due, the client's wait, and the model that classified it.

    `key` is empty if the web tier did not accept it, `model` if no result came in time.
    """

    sent_at: float
    wait_seconds: float
    key: str
    model: str


class SteadyLoad:
    """Sends photos at a constant rate and records the response to each; a context manager."""

    def __init__(self, web_url: str, photos: Sequence[bytes], images_per_second: float) -> None:
        self._url = f"{web_url}/api/v1/classify"
        self._photos = itertools.cycle(photos)
        self._interval_seconds = 1 / images_per_second
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS)
        self._sender = threading.Thread(target=self._send_all, daemon=True)
        self._local = threading.local()
        self.answered: list[Answered] = []

    def __enter__(self) -> SteadyLoad:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sender.join()
        self._pool.shutdown()  # when everything that was sent is answered

    def wait_for(self, count: int, model: str = "") -> None:
        """Waits until `count` more photos were answered, by `model` if one is named.

        Raises:
            ElasticError: the timeout has passed.
        """
        start = len(self.answered)
        _wait_for(
            lambda: sum(a.model == model if model else bool(a.model) for a in self.answered[start:]) >= count,
            f"{count} photos are not answered{f' by {model}' if model else ''} in time",
        )

    def _send_all(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._pool.submit(self._send, next(self._photos), due)
            due += self._interval_seconds

    def _send(self, photo: bytes, due: float) -> None:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        key = model = ""
        try:
            response = self._local.session.post(
                self._url, data=photo, headers={"Content-Type": "image/jpeg"}, timeout=_TIMEOUT_SECONDS
            )
            if response.status_code in (200, 202):
                body = response.json()
                key, model = body["key"], body.get("model", "")
        except requests.RequestException:
            pass  # not accepted, as far as the client knows
        # Measured from the due time: a client that falls behind must not hide a wait.
        self.answered.append(Answered(due, time.monotonic() - due, key, model))


class Stage:
    """A running stack with its stores, and the versions that are rolled out."""

    def __init__(self, stack: LocalStack, clients: Clients, folder: Path) -> None:
        settings = stack.settings
        self.stack = stack
        self.s3 = clients["s3"]
        self.images = ImageStore(self.s3, settings.input_bucket)
        self.results = ResultStore(self.s3, settings.output_bucket)
        self.fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)
        self.state = StateStore(self.s3, settings.state_bucket)
        self.releases, self.models = ReleaseStore(self.state), ModelStore(self.state)
        bundle = Path(settings.model_bundle)
        manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
        self.original = f"{manifest['name']}@{manifest['version']}"
        # Added directly to the store: `elastic model add` would refuse the broken one.
        made = [another_version(bundle, folder / v, v, spoil=v == BROKEN) for v in (PROMOTED, BROKEN)]
        self.promoted, self.broken = (self.models.add(version, time.time()).full_name for version in made)

    def roll(self, target: Callable[[ReleaseRecord], tuple[str, str]]) -> tuple[float, float, ReleaseRecord]:
        """Rolls out and waits for the end; returns when it began and ended (monotonic seconds), and the record.

        Raises:
            ElasticError: the rollout did not end in time.
        """
        began = time.monotonic()
        self.releases.change(lambda record: record.begun(*target(record), now=time.time()))
        while (record := self.releases.read()).phase is not Phase.STEADY:
            if time.monotonic() - began > ROLLOUT_SECONDS:
                raise ElasticError(f"the rollout did not end in {ROLLOUT_SECONDS:g} s: {record.reason}")
            time.sleep(_POLL_SECONDS)
        return began, time.monotonic(), record

    def check_delivery(self, answered: Sequence[Answered]) -> dict[str, int]:
        """Compares the accepted photos with the contents of the buckets; each photo is a batch of its own."""
        accepted = {answer.key for answer in answered if answer.key}
        # Also photos that were stored although the response did not reach the client.
        uploaded = {stored.key for stored in list_objects(self.s3, self.images.bucket, "2")}
        stored = read_result_versions(self.s3, self.results.bucket, "")
        reports = [
            check_delivery({key}, {key} & uploaded, {key: stored[key]} if key in stored else {})
            for key in accepted | uploaded
        ]
        return {
            "accepted": len(accepted),
            "lost": sum(len(report.lost) for report in reports),
            "doubled": sum(len(report.doubled) for report in reports) + len(stored.keys() - uploaded),
            "stored_twice": sum(len(found) > 1 for found in stored.values()),
        }


@contextmanager
def running_stage(workers: int, log_directory: Path = _LOG_DIRECTORY, **settings: Any) -> Iterator[Stage]:
    """Starts a stack with `workers` workers, with the broken and the good version in its model store."""
    chosen = {"authentication": "off", "min_size": workers, "max_size": 2 * workers, **settings}
    with tempfile.TemporaryDirectory() as folder, LocalStack(chosen, log_directory=log_directory) as stack:
        with cloud_environment(stack.endpoint_url) as clients:
            for service in ("s3", "ec2"):
                clients[service]  # opened while the environment names the endpoint
            stage = Stage(stack, clients, Path(folder))
        keep_result_versions(stage.s3, stage.results.bucket)
        yield stage


def another_version(bundle: Path, folder: Path, version: str, *, spoil: bool) -> Path:
    """Copies the bundle under another version; `spoil`: with a label too few, so that its smoke test fails."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    if spoil:
        (folder / "labels.txt").write_text("\n".join(labels[:-1]) + "\n", "utf-8")
    hashes = {name: sha256((folder / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    (folder / "bundle.json").write_text(json.dumps({**manifest, "version": version, "sha256": hashes}), "utf-8")
    return folder


def run(workers: int, images_per_second: float, steady_seconds: float, console: Console) -> dict[str, Any]:
    """Runs the benchmark; returns the report.

    Its keys: ``accepted``, ``lost``, ``doubled`` (from the buckets), ``stored_twice`` (the same result, harmless),
    ``wait_p95_steady_seconds``, ``wait_p95_rollout_seconds`` and their ``ratio``, the same for each rollout in
    ``rollouts``, ``wrong_model`` (results of a model that was not in use at that time) and ``peak_instances``.
    """
    about_machine = machine()
    photos = load_photos(None)
    with running_stage(workers) as stage, FleetSizeHistory(stage.fleet) as history:
        original = stage.original
        windows: list[tuple[str, float, float, set[str]]] = []
        with SteadyLoad(stage.stack.web_url, photos, images_per_second) as load:
            load.wait_for(workers * 10)

            def steady(model: str) -> None:
                started = time.monotonic()
                console.print(f"steady with {model}, {steady_seconds:g} s", highlight=False)
                time.sleep(steady_seconds)
                windows.append(("steady", started, time.monotonic(), {model}))

            def roll(name: str, models: set[str], target: Callable[[ReleaseRecord], tuple[str, str]]) -> None:
                began, ended, record = stage.roll(target)
                result = record.past[-1].result
                console.print(f"{name}: {result} after {ended - began:.1f} s", highlight=False)
                windows.append((f"{name} ({result})", began, ended, models))

            steady(original)
            roll("promote", {original, stage.promoted}, lambda record: ("", stage.promoted))
            steady(stage.promoted)
            roll("broken version", {stage.promoted}, lambda record: ("", stage.broken))
            steady(stage.promoted)
            roll("rollback", {original, stage.promoted}, lambda record: ("", ""))
        answered = sorted(load.answered, key=lambda answer: answer.sent_at)
        delivery = stage.check_delivery(answered)
    return {
        "refused": sum(not answer.key for answer in answered),
        **delivery,
        **_figures(answered, windows),
        "workers": workers,
        "images_per_second": images_per_second,
        "peak_instances": history.peak,
        "machine": about_machine,
    }


def _figures(answered: Sequence[Answered], windows: Sequence[tuple[str, float, float, set[str]]]) -> dict[str, Any]:
    steady: list[float] = []
    rolling: list[float] = []
    rollouts, wrong = [], 0
    for name, start, end, models in windows:
        inside = [answer for answer in answered if start <= answer.sent_at < end]
        wrong += sum(bool(answer.model) and answer.model not in models for answer in inside)
        waits = [answer.wait_seconds for answer in inside]
        if name == "steady":
            steady += waits
        else:
            rolling += waits
            rollouts.append(
                {
                    "rollout": name,
                    "seconds": round(end - start, 1),
                    "photos": len(waits),
                    "wait_p95_seconds": round(p95(waits), 3),
                    "longest_wait_seconds": round(max(waits), 3),
                }
            )
    return {
        "wrong_model": wrong,
        "wait_p95_steady_seconds": round(p95(steady), 3),
        "wait_p95_rollout_seconds": round(p95(rolling), 3),
        "ratio": round(p95(rolling) / p95(steady), 2),
        "rollouts": rollouts,
    }


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def _wait_for(condition: Callable[[], bool], sentence: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ElasticError(sentence)
        time.sleep(_POLL_SECONDS)


@click.command("rollout")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Workers in the fleet.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=8.0, show_default=True, help="Photos per second."
)
@click.option(
    "--steady-seconds", type=click.FloatRange(min=0), default=20.0, show_default=True, help="Time between two rollouts."
)
@json_option
def command(workers: int, rate: float, steady_seconds: float, json_path: Path | None) -> None:
    """Measure waits and lost results while the model changes.

    Compares the waits during rollouts with those of the steady state.  Ends with status 0 only if no photo was lost,
    doubled or refused, and the p95 wait grew to no more than 1.5 times.
    """
    report = run(workers, rate, steady_seconds, Console(stderr=True))
    click.echo(json.dumps(report, indent=1))
    if json_path is not None:
        write_json(report, json_path)
    failed = report["lost"] or report["doubled"] or report["wrong_model"] or report["refused"]
    if failed or report["ratio"] > MAX_RATIO:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    command()
