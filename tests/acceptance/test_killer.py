"""An image that kills its decoder: two workers die, it becomes a dead letter, all others are answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

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
