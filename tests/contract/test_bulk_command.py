"""`elastic bulk` on the embedded cloud, with a planner and a worker that the test plays: what each command does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_queue import BulkQueue
from aws.bulk_runs import BulkRuns
from aws.clients import Clients
from aws.state import StateStore
from cli.bulk import bulk
from controller.bulk.planner import BulkPlanner
from core.errors import ElasticError
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from tests.unit.test_bulk_planner import part_of
from tests.unit.test_inventory import csv_file

pytestmark = pytest.mark.own_emulator

PHOTOS = [f"2026/{number:02} ü.jpg" for number in range(7)]


class Cloud:
    """The commands' cloud, and the tiers that work on it."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self.s3, self.settings = clients["s3"], settings
        self.queue = BulkQueue(clients["sqs"], settings.bulk_queue_name)
        self.runs = BulkRuns(StateStore(self.s3, settings.state_bucket), lambda bucket: BulkOutput(self.s3, bucket))
        self.planner = BulkPlanner(
            self.runs, self.queue, lambda run: PhotoSource(self.s3, run.source_bucket), lost_after_seconds=0.0
        )
        for key in [*PHOTOS, "2026/notes.txt"]:
            self.s3.put_object(Bucket=settings.input_bucket, Key=key, Body=b"x")
        self.source, self.output = f"s3://{settings.input_bucket}/2026/", f"s3://{settings.output_bucket}/labels"

    def answer(self, count: int) -> None:
        """Answers so many jobs."""
        for _ in range(count):
            delivery = self.queue.receive(1)
            assert delivery is not None and delivery.job is not None
            BulkOutput(self.s3, delivery.job.output_bucket).put(delivery.job.part_key, part_of(delivery.job).encode())
            self.queue.delete([delivery.receipt_handle])

    def table(self) -> list[str]:
        """The lines of the table."""
        body: bytes = self.s3.get_object(Bucket=self.settings.output_bucket, Key="labels/labels-00000.csv")[
            "Body"
        ].read()
        return body.decode().splitlines()


@pytest.fixture
def cloud(clients: Clients, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    variables = {"AWS_ENDPOINT_URL": clients["s3"].meta.endpoint_url, **LOCAL_CREDENTIALS, **settings.to_environment()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Cloud(clients, settings)


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(bulk, [*arguments])
    assert result.exit_code == status, result.output
    return result


def refused(*arguments: str) -> str:
    """The sentence of a command that is refused."""
    error = CliRunner().invoke(bulk, [*arguments]).exception
    assert isinstance(error, ElasticError), error
    return str(error)


def test_a_run_is_started_cancelled_resumed_and_watched(cloud: Cloud) -> None:
    started = run("start", cloud.source, "--output", cloud.output, "--images-per-job", "2", "--detach")
    run_id = started.stdout.strip()
    cloud.planner.round()
    cloud.answer(1)
    cloud.planner.round()
    assert "Running: 2/7 images." in run("status", run_id).stdout
    assert json.loads(run("status", run_id, "--json").stdout)["skipped"] == 1

    assert "Cancelled after 2 images." in run("cancel", run_id).stdout
    assert "Cancelled after 2/7 images." in run("watch", run_id, status=1).stdout
    assert refused("cancel", run_id) == f"the run {run_id} is cancelled already"
    while delivery := cloud.queue.receive(0):
        cloud.queue.delete([delivery.receipt_handle])

    run("resume", run_id, "--detach")
    cloud.planner.round()
    cloud.answer(3)
    cloud.planner.round()
    watched = run("watch").stdout
    assert "Complete: 7 images in" in watched and "Objects not included: 1." in watched
    assert cloud.table() == ["image,label,score,error", *(f'{photo},"tabby, cat",0.75,' for photo in PHOTOS)]
    (listed,) = json.loads(run("list", "--json").stdout)
    assert (listed["run_id"], listed["status"]) == (run_id, "complete")
    assert refused("resume", run_id) == f"the run {run_id} is complete: there is nothing to resume"


def test_a_manifest_decides_what_is_labelled(cloud: Cloud, tmp_path: Path) -> None:
    manifest = tmp_path / "favourites.csv"
    manifest.write_text(f"key,stars\n{PHOTOS[5]},5\n{PHOTOS[1]},4\n2026/notes.txt,1\n", "utf-8")
    bucket = f"s3://{cloud.settings.input_bucket}"
    arguments = ("--manifest", str(manifest), "--output", cloud.output, "--columns", "label,image", "--detach")
    run("start", bucket, *arguments)
    cloud.planner.round()
    cloud.answer(1)
    cloud.planner.round()
    assert cloud.table() == [
        "label,image", *(f'"tabby, cat",{key}' for key in (PHOTOS[5], PHOTOS[1], "2026/notes.txt"))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "s3://no-such-bucket-here/"}, "there is no bucket no-such-bucket-here"),
        ({"source": "{source}none/"}, "there is no object whose key begins with"),
        ({"output": "s3://no-such-bucket-here/"}, "there is no bucket no-such-bucket-here"),
        ({"output": "s3://{input}"}, "the output needs a prefix of its own"),
    ],
)
def test_a_start_that_cannot_work_is_refused_and_leaves_nothing(
    cloud: Cloud, change: dict[str, str], sentence: str
) -> None:
    names = {"source": cloud.source, "input": cloud.settings.input_bucket}
    chosen: dict[str, Any] = {"source": cloud.source, "output": cloud.output}
    chosen |= {name: text.format(**names) for name, text in change.items()}
    assert sentence in refused("start", chosen["source"], "--output", chosen["output"], "--detach")
    assert cloud.runs.ids() == []


def test_a_manifest_of_two_buckets_leaves_the_output_free(cloud: Cloud, tmp_path: Path) -> None:
    manifest = tmp_path / "a.jsonl"
    manifest.write_text('"s3://one-bucket/a.jpg"\n"s3://another/b.jpg"\n')
    assert "start a run for each" in refused("start", "--manifest", str(manifest), "--output", cloud.output)
    run("start", cloud.source, "--output", cloud.output, "--detach")
    assert "holds the output of another run" in refused("start", cloud.source, "--output", cloud.output, "--detach")


def publish_inventory(cloud: Cloud, *keys: str) -> str:
    """Publishes an S3 Inventory of the input bucket in the output bucket; returns its manifest's address."""
    source, destination = cloud.settings.input_bucket, cloud.settings.output_bucket
    body = csv_file(*((source, key, "1") for key in keys))
    manifest = {
        "sourceBucket": source,
        "destinationBucket": f"arn:aws:s3:::{destination}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "lists/data/a.csv.gz", "size": len(body), "MD5checksum": hashlib.md5(body).hexdigest()}],
    }
    cloud.s3.put_object(Bucket=destination, Key="lists/data/a.csv.gz", Body=body)
    cloud.s3.put_object(Bucket=destination, Key="lists/manifest.json", Body=json.dumps(manifest).encode())
    return f"s3://{destination}/lists/manifest.json"


def test_an_inventory_is_a_listing(cloud: Cloud) -> None:
    address = publish_inventory(cloud, PHOTOS[3], "2026/notes.txt", "2025/old.jpg", PHOTOS[0])
    started = run("start", cloud.source, "--manifest", address, "--output", cloud.output, "--detach")
    assert "The manifest lists 2 photos." in started.stderr
    cloud.planner.round()
    cloud.answer(1)
    cloud.planner.round()
    assert [line.split(",")[0] for line in cloud.table()[1:]] == [PHOTOS[3], PHOTOS[0]]
    record = cloud.runs.get(started.stdout.strip())
    assert (record.skipped, record.source) == (2, f"{cloud.source} ({address})")


@pytest.mark.parametrize(
    ("source", "include", "sentence"),
    [
        ("s3://others/", "*.jpg", "is of the bucket"),
        ("", "*.gif", "none of the 1 objects that"),
    ],
)
def test_an_inventory_without_a_photo_of_the_run_leaves_the_output_free(
    cloud: Cloud, source: str, include: str, sentence: str
) -> None:
    address = publish_inventory(cloud, PHOTOS[0])
    sources = [source] if source else []
    assert sentence in refused("start", *sources, "--manifest", address, "--include", include, "--output", cloud.output)
    run("start", "--manifest", address, "--output", cloud.output, "--detach")


@pytest.mark.parametrize("by_inventory", [False, True])
def test_a_deadline_and_a_budget_limit_the_instances(cloud: Cloud, by_inventory: bool) -> None:
    manifest = ("--manifest", publish_inventory(cloud, *PHOTOS)) if by_inventory else ()
    arguments = ("start", cloud.source, *manifest, "--output", cloud.output, "--detach")
    assert "7 images cannot be finished in 1 s" in refused(*arguments, "--finish-by", "1s")
    assert "7 images cost" in refused(*arguments, "--at-most-usd", "0.000001")
    assert cloud.runs.ids() == []
    started = run(*arguments, "--finish-by", "1h", "--at-most-usd", "5")
    assert "By the formula, 7 images take" in started.stderr and "with 1 instance: the fewest" in started.stderr
    run_id = started.stdout.strip()
    shown = run("status", run_id).stdout
    assert "Most instances that are kept for it: 1." in shown and "To be finished by 20" in shown
    cloud.planner.round()
    assert cloud.planner.max_instances() == 1
    (deadline,) = cloud.planner.deadlines()
    assert deadline.images == 7 and 3500 < deadline.seconds_left < 3600 and deadline.ceiling == Settings().max_size


def test_the_number_of_instances_can_be_set(cloud: Cloud) -> None:
    arguments = ("start", cloud.source, "--output", cloud.output, "--detach", "--max-instances", "2")
    found = cloud.runs.get(run(*arguments).stdout.strip())
    assert (found.max_instances, found.finish_by, found.ceiling) == (2, 0.0, 0)


def test_an_unknown_run_is_named(cloud: Cloud) -> None:
    assert "No bulk runs" in run("list").stdout
    for command in ("status", "watch", "cancel", "resume"):
        assert "there is no bulk run" in refused(command, "20260102-030405-0123456789ab")
    assert cloud.runs.ids() == []
