"""EC2 takes an instance back, or the web tier dies between storing an image and sending its job: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import requests

from aws.metadata import ENDPOINT_VARIABLE
from core.batch_record import BatchRecord
from core.jobs import image_key, new_batch_id
from tests.bench import Bench, running_bench
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

# A worker asks for notices every five seconds, then finishes what it holds.
LEAVING_SECONDS = 20.0
MakeImages = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = {
        "min_size": 1,
        "max_size": 2,
        "visibility_timeout_seconds": 30,
        "orphan_age_seconds": 1,
        "janitor_interval_seconds": 0.5,
    }
    with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
        yield bench


def instance_of(worker: psutil.Process) -> str:
    """The id of the instance on which a worker runs."""
    return str(worker.environ()[ENDPOINT_VARIABLE]).rpartition("/")[2]


def test_a_spot_interruption_notice_makes_a_worker_leave_and_nothing_is_lost(
    bench: Bench, make_images: MakeImages
) -> None:
    paths = make_images(10)
    batches = [bench.upload(paths)]
    bench.answers(batches[0], 1)
    worker = bench.workers()[0]
    instance_id = instance_of(worker)

    notice = {"action": "terminate", "time": "2026-01-01T12:02:00Z"}
    requests.post(
        f"{bench.stack.metadata_url}{instance_id}/interrupt", json=notice, timeout=PATIENCE_SECONDS
    ).raise_for_status()

    def has_left() -> bool:
        if bench.queue.backlog().total < len(paths):
            batches.append(bench.upload(paths))  # so that it is in the middle of something
        return not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE

    wait_until(has_left, "the worker ignores the notice", LEAVING_SECONDS)
    wait_until(
        lambda: instance_id not in {instance.instance_id for instance in bench.fleet.describe()},
        "the instance did not end with its worker",
    )
    for batch_id in batches:
        assert {answer["status"] for answer in bench.answers(batch_id, len(paths))} == {"classified"}
    # The visibility timeout is long: this soon only because the worker gave back what it held.
    wait_until(lambda: bench.queue.backlog().total == 0, "a job is left", LEAVING_SECONDS)
    log = next((bench.stack.log_directory / "instances").glob(f"*{instance_id}.log")).read_text()
    assert "leaving: spot interruption notice" in log and "left in hand" not in log


def test_an_image_without_a_job_is_answered(bench: Bench, make_images: MakeImages) -> None:
    now = datetime.now(UTC)
    batch_id = new_batch_id(now)
    key = image_key(batch_id, 0, "orphan.jpg")
    bench.images.create_batch(batch_id, BatchRecord(now.isoformat()))
    bench.images.put(key, make_images(1)[0].read_bytes(), "orphan.jpg")

    [answer] = bench.answers(batch_id, 1)

    assert (answer["key"], answer["name"], answer["status"]) == (key, "orphan.jpg", "classified")
