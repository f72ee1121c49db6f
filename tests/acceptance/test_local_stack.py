"""The whole program with real processes: upload, queue, fleet, workers, answers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from api_client.client import ApiClient
from aws.clients import Clients
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.stack import LocalStack
from tests.bench import Bench, running_bench
from tests.bundles import measured
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

MakeImages = Callable[..., list[Path]]

MAX_SIZE = 4


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    # As many workers as there are would share the cores of this machine: four show all that fifteen do.
    settings = {
        "scale_in_stabilization_seconds": 2,
        "visibility_timeout_seconds": 5,
        "max_size": MAX_SIZE,
        "bulk_start": "web",
        "bulk_buckets": "my-photos",
    }
    with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
        yield bench


def test_from_zero_to_many_instances_and_back_to_zero(bench: Bench, make_images: MakeImages) -> None:
    paths = make_images(200)
    with FleetSizeHistory(bench.fleet) as history:
        assert history.wait_for_zero(PATIENCE_SECONDS)
        answers = bench.classify(paths)
        assert history.wait_for_zero(PATIENCE_SECONDS)
    assert [answer["name"] for answer in answers] == [path.name for path in paths]
    assert {answer["status"] for answer in answers} == {"classified"}
    assert 1 < history.peak <= MAX_SIZE
    assert bench.queue.backlog().total == 0


def test_the_output_bucket_holds_one_line_for_each_image(bench: Bench, make_images: MakeImages) -> None:
    paths = make_images(12)
    answers = bench.classify(paths)
    batch_id = answers[0]["key"].partition("/")[0]
    lines = [bench.results.line(stored.key) for stored in bench.results.list(f"{batch_id}/")]
    assert lines == [f"{answer['name']}, {answer['label']}" for answer in answers]


def test_photos_are_classified_as_well_as_the_card_says(bench: Bench, many_photos: list[tuple[Path, str]]) -> None:
    answers = bench.classify([path for path, _ in many_photos])
    right = sum(answer["label"] == label for answer, (_, label) in zip(answers, many_photos, strict=True))
    assert right / len(many_photos) >= measured()["photos_300_top1_int8"] - 0.01


def test_photos_get_their_labels(bench: Bench, photos: list[tuple[Path, str]]) -> None:
    labelled = [(path, label) for path, label in photos if label]
    answers = bench.classify([path for path, _ in labelled])
    right = sum(answer["label"] == label for answer, (_, label) in zip(answers, labelled, strict=True))
    # How good the model is, others measure; by chance none of them would be right: there are 1,000 classes.
    assert right >= 2


def test_every_odd_image_gets_the_right_kind_of_answer(bench: Bench, all_odd_images: list[tuple[Path, bool]]) -> None:
    ended_before = bench.workers_ended_by_themselves()
    answers = bench.classify([path for path, _ in all_odd_images])
    reported = {answer["name"]: answer["status"] == "classified" for answer in answers}
    assert reported == {path.name: decodes for path, decodes in all_odd_images}
    assert all(answer["error"]["sentence"] for answer in answers if answer["status"] == "failed")
    assert bench.workers_ended_by_themselves() == ended_before, "a worker died"
    assert bench.dead_letters.backlog().total == 0


def test_two_batches_with_the_same_names_do_not_mix(
    bench: Bench, photos: list[tuple[Path, str]], tmp_path: Path
) -> None:
    """Both send a.jpg and b.jpg at the same time, with the photos swapped."""
    wanted = {path.name: path for path, _label in photos}
    folders = []
    for number, (first, second) in enumerate((("cat.jpg", "coffee.jpg"), ("coffee.jpg", "cat.jpg"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, photo in (("a.jpg", first), ("b.jpg", second)):
            (folder / name).write_bytes(wanted[photo].read_bytes())
        folders.append(sorted(folder.iterdir()))
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(bench.classify, folders))
    labels = [[answer["label"] for answer in batch] for batch in answers]
    assert labels[0] == labels[1][::-1] and labels[0][0] != labels[0][1]


def test_photos_that_are_put_into_the_bucket_are_answered_under_the_same_keys(
    bench: Bench, photos: list[tuple[Path, str]]
) -> None:
    s3 = Clients(environment=bench.stack.environment)["s3"]
    paths = [path for path, _label in photos[:4]]
    uploaded = bench.classify(paths)
    for path in paths:
        s3.upload_file(str(path), bench.images.bucket, f"drop/my photos/ä+{path.name}")
    keys = [f"drop/my photos/ä+{path.name}" for path in sorted(paths)]
    wait_until(lambda: [stored.key for stored in bench.results.list("drop/")] == keys, "they were not answered")
    answers = [bench.results.get(key) for key in keys]
    assert {answer.name: answer.label for answer in answers} == {
        f"my photos/ä+{answer['name']}": answer["label"] for answer in uploaded
    }
    wait_until(lambda: bench.queue.backlog().total == 0, "a notification was left")


def test_a_run_that_the_api_asks_for_is_labelled_or_refused_by_the_controller(
    bench: Bench, make_images: MakeImages
) -> None:
    s3 = Clients(environment=bench.stack.environment)["s3"]
    s3.create_bucket(Bucket="my-photos")
    for path in make_images(6):
        s3.upload_file(str(path), "my-photos", f"2026/{path.name}")
    address, output = f"{bench.stack.web_url}/api/v1/bulk", f"s3://{bench.results.bucket}/bulk/2026/"

    def outcome(**wanted: str | float) -> dict[str, Any]:
        asked = requests.post(address, json=wanted, timeout=PATIENCE_SECONDS)
        assert asked.status_code == 202, asked.text
        run: dict[str, Any] = {}

        def is_over() -> bool:
            run.update(requests.get(f"{address}/{asked.json()['run_id']}", timeout=PATIENCE_SECONDS).json())
            return run["status"] not in ("requested", "running")

        wait_until(is_over, "the run is not over")
        return run

    done = outcome(source="s3://my-photos/2026/", output=output, max_instances=1, finish_within_seconds=60)
    assert (done["status"], done["answered"], done["failed"], done["max_instances"]) == ("complete", 6, 0, 1), done
    (table,) = s3.list_objects_v2(Bucket=bench.results.bucket, Prefix="bulk/2026/labels-")["Contents"]
    lines = s3.get_object(Bucket=bench.results.bucket, Key=table["Key"])["Body"].read().decode().splitlines()
    assert len(lines) == 1 + 6
    refused = outcome(source=f"s3://{bench.images.bucket}/", output=f"{output}more/")
    assert refused["status"] == "refused" and "EIC_BULK_BUCKETS" in refused["problem"]
    taken = outcome(source="s3://my-photos/2026/", output=output)
    assert taken["status"] == "refused" and taken["problem"].endswith("choose another output"), taken


def test_killing_a_worker_in_the_middle_of_a_batch_loses_nothing(bench: Bench, make_images: MakeImages) -> None:
    paths = make_images(150)
    batch_id = bench.api.create_batch()
    bench.api.upload(batch_id, paths, lambda count: None)
    follow = bench.api.follow(batch_id, len(paths), PATIENCE_SECONDS)
    answers = [next(follow)]
    ended_before = bench.workers_ended_by_themselves()
    victim = bench.workers()[0]
    victim.send_signal(signal.SIGKILL)
    answers += follow
    assert sorted(answer["name"] for answer in answers) == [path.name for path in paths]
    # The last answer may come before the supervisor looks at its processes again.
    wait_until(lambda: bench.workers_ended_by_themselves() == ended_before + 1, "the worker's end was not noticed")
    wait_until(lambda: bench.queue.backlog().total == 0, "the killed worker's jobs were never deleted")


class StackWithSlowController(LocalStack):
    """A stack on a machine that is slow to start the controller."""

    def start_controller(self, name: str = "controller") -> subprocess.Popen[str]:
        slowly = "import runpy, time; time.sleep(3); runpy.run_module('controller', run_name='__main__')"
        return self._spawn(name, [sys.executable, "-c", slowly])


def test_the_stack_is_ready_when_its_fleet_is_known_and_stopping_it_leaves_no_process(
    tmp_path: Path, make_images: MakeImages
) -> None:
    with StackWithSlowController(log_directory=tmp_path) as stack:
        assert requests.get(f"{stack.web_url}/api/v1/fleet", timeout=PATIENCE_SECONDS).status_code == 200
        api = ApiClient(stack.web_url)
        batch_id = api.create_batch()
        api.upload(batch_id, make_images(30), lambda count: None)
        next(api.follow(batch_id, 30, PATIENCE_SECONDS))
        processes = [psutil.Process(stack.process(n).pid) for n in ("local-cloud", "web-tier", "controller")]
        family = [*processes, *(child for process in processes for child in process.children(recursive=True))]
        assert any("app_tier" in process.cmdline() for process in family)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    assert alive == []
