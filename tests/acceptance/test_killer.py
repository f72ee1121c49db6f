"""An image that kills its decoder: two workers die, it becomes a dead letter, all others are answered.

In a bulk run it is a line with its error, and so does the run survive a killed controller and killed commands.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aws.bulk_queue import BulkQueue
from aws.clients import Clients
from chaos.bulk_check import check_tables
from core.paths import REPOSITORY_ROOT
from tests.bench import Bench, running_bench
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

# Python imports this at the start of every process of the stack.
FAULTY_CODEC = """
import os, pathlib, resource
import PIL.ImageFile

FAULT = pathlib.Path(__file__).with_name("fault")
load = PIL.ImageFile.ImageFile.load

def load_or_die(image):
    if image.size == (13, 13) and FAULT.exists():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    return load(image)

PIL.ImageFile.ImageFile.load = load_or_die
"""


@pytest.fixture(scope="module")
def fault(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, decoding an image of 13 × 13 pixels aborts the process."""
    folder = tmp_path_factory.mktemp("faulty-codec")
    (folder / "sitecustomize.py").write_text(FAULTY_CODEC)
    path = folder / "fault"
    path.touch()
    return path


@pytest.fixture(scope="module")
def bench(fault: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = {
        "max_size": 2,
        "visibility_timeout_seconds": 3,
        "max_receive_count": 5,
        "janitor_interval_seconds": 1,
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(fault.parent))
        with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
            yield bench


def elastic(bench: Bench, *arguments: str) -> str:
    """Runs a command against the bench's cloud; returns what it prints."""
    run = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=REPOSITORY_ROOT,
        env={**bench.stack.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_killer_ends_as_a_dead_letter_and_harms_no_other_image(
    bench: Bench, fault: Path, make_images: Callable[..., list[Path]]
) -> None:
    paths = make_images(20)
    killer = paths[0].with_name("killer.png")
    Image.new("RGB", (13, 13)).save(killer)
    paths.insert(10, killer)

    *answers, failure = sorted(bench.classify(paths), key=lambda answer: bool(answer["error"]))

    assert [answer["name"] for answer in answers] == [path.name for path in paths if path != killer]
    assert {answer["status"] for answer in answers} == {"classified"}
    assert (failure["name"], failure["status"], failure["error"]["code"]) == ("killer.png", "failed", "gave_up")
    assert (bench.queue.backlog().total, bench.dead_letters.backlog().total) == (0, 1)
    deaths = (bench.stack.log_directory / "local-cloud.log").read_text().count("ended with status -6")
    assert 1 <= deaths <= 2, "from its third delivery on, an image is decoded in a process of its own"

    listed = elastic(bench, "dlq", "list")
    assert "1 dead letter" in listed and "killer.png" in listed

    # Once the codec is repaired, the dead letter can be tried again, and its answer replaces the failure.
    fault.unlink()
    assert elastic(bench, "dlq", "redrive").startswith("1 job")
    wait_until(lambda: bench.results.get(failure["key"]).failure is None, "the redriven job was not answered")
    wait_until(lambda: bench.queue.backlog().total == 0, "the redriven job was not deleted")
    assert bench.dead_letters.backlog().total == 0


def test_a_bulk_run_survives_killed_workers_controller_and_commands(
    bench: Bench, fault: Path, make_images: Callable[..., list[Path]], tmp_path: Path
) -> None:
    clients = Clients(environment=bench.stack.environment)
    s3 = clients["s3"]
    for bucket in ("photos", "labels"):
        s3.create_bucket(Bucket=bucket)
    bodies = [path.read_bytes() for path in make_images(20)]
    for number in range(120):
        s3.put_object(Bucket="photos", Key=f"2026/{number:03} ü.jpg", Body=bodies[number % 20])
    killer = tmp_path / "killer.png"
    Image.new("RGB", (13, 13)).save(killer)
    s3.put_object(Bucket="photos", Key="2026/060-killer.png", Body=killer.read_bytes())
    s3.put_object(Bucket="photos", Key="2026/061-broken.jpg", Body=b"no image")
    fault.touch()
    log = bench.stack.log_directory / "local-cloud.log"
    deaths = log.read_text().count("ended with status -6")

    start = ("bulk", "start", "s3://photos/2026/", "--output", "s3://labels/run", "--images-per-job", "8")
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *start],
        cwd=REPOSITORY_ROOT,
        env=bench.stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as command:
        assert command.stdout is not None
        run_id = command.stdout.readline().strip()
        wait_until(lambda: bool(parts(s3)), "no job was answered")
        command.send_signal(signal.SIGKILL)
    for worker in bench.workers():
        worker.kill()
    bench.stack.process("controller").kill()
    bench.stack.process("controller").wait()
    bench.stack.start_controller()

    assert "Complete: 122 images" in elastic(bench, "bulk", "watch", run_id)
    report = check_tables(s3, "photos", "2026/", "labels", "run/")
    assert report.is_whole, report
    assert (report.rows, sorted(report.failed)) == (122, ["2026/060-killer.png", "2026/061-broken.jpg"])
    assert log.read_text().count("ended with status -6") <= deaths + 2, "its job was sunk more than twice"
    jobs = BulkQueue(clients["sqs"], bench.stack.settings.bulk_queue_name)
    wait_until(lambda: jobs.backlog().total == 0, "bulk jobs are left")
    wait_until(lambda: bench.fleet.describe() == [], "the fleet is not at 0")
    assert "complete" in elastic(bench, "bulk", "list")


def parts(s3: Any) -> list[str]:
    """The keys of the parts of the run's jobs."""
    listed = s3.list_objects_v2(Bucket="labels", Prefix="run/_parts/")
    return [entry["Key"] for entry in listed.get("Contents", [])]
