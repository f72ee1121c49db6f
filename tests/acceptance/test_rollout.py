"""A change of model under load, with real processes: nothing is lost, doubled or answered by a broken model."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from aws.clients import Clients
from benchmarks.rollout import Stage, SteadyLoad, running_stage
from cli.fleet import read_status
from cli.model import model
from cli.rollout import rollout
from local_cloud.fleet_size_history import FleetSizeHistory
from local_cloud.sample_photos import from_packages, make_crops
from tests.bundles import shipped_as
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

IMAGES_PER_SECOND = 2.5
WORKERS = 2


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [path.read_bytes() for path in make_crops(30, 3, tmp_path_factory.mktemp("photos"), from_packages())]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running_stage(WORKERS, tmp_path_factory.mktemp("log"), scale_in_stabilization_seconds=2) as stage:
        yield stage


@pytest.fixture
def stage(running: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The running stack, which the commands of a test join by the environment."""
    for name, value in running.stack.environment.items():
        if name.startswith(("AWS_", "EIC_")):
            monkeypatch.setenv(name, value)
    return running


def workers(stage: Stage) -> int:
    """How many worker processes there are."""
    count = 0
    for child in psutil.Process(stage.stack.process("local-cloud").pid).children():
        with contextlib.suppress(psutil.Error):  # it has ended
            count += "app_tier" in child.cmdline()
    return count


def compared(stage: Stage) -> int:
    shadow = read_status(stage.state).shadow
    return 0 if shadow is None or shadow.model != stage.promoted else shadow.compared


def run(command: object, *arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(command, [*arguments])  # type: ignore[arg-type]
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_a_model_is_promoted_rolled_back_and_a_broken_one_never_answers(stage: Stage, photos: list[bytes]) -> None:
    with FleetSizeHistory(stage.fleet, interval_seconds=0.5) as history:
        with SteadyLoad(stage.stack.web_url, photos, IMAGES_PER_SECOND) as load:
            load.wait_for(2 * WORKERS)
            run(model, "shadow", stage.promoted, "--share", "1")
            wait_until(lambda: compared(stage) >= 5, "the candidate is not compared")
            rows = {row["model"]: row for row in json.loads(run(model, "list", "--json").output)}
            candidate = rows[stage.promoted]
            run(model, "shadow", "off")
            before = len(load.answered)
            run(model, "promote", stage.promoted)
            wait_until(lambda: workers(stage) == len(stage.fleet.describe()), "who was drained does not end")
            promoted_at = time.monotonic()
            load.wait_for(10, stage.promoted)

            failed = CliRunner().invoke(model, ["promote", stage.broken])
            assert failed.exit_code == 1 and "labels" in failed.output and "failed" in failed.output
            broken_until = len(load.answered)
            load.wait_for(10, stage.promoted)

            run(model, "rollback")
            load.wait_for(10, stage.original)
        answered = load.answered
        seen_by = {answer.model for answer in answered}
        delivery = stage.check_delivery(answered)
        listed = run(model, "list").output
        reported = run(rollout, "status").output
        peak = history.peak
        status = read_status(stage.state)

    assert candidate["state"] == "candidate, 100% of the photos"
    agreement = candidate["agreement"]
    assert agreement["compared"] == agreement["agreed"] >= 5, "the same weights agree with themselves"
    assert status.trouble is None, "a release that works is not slowed down by one that does not"
    assert status.quality is not None and status.quality.reference_images > 10
    assert delivery["lost"] == delivery["doubled"] == 0
    assert delivery["accepted"] == len(answered), "a photo was refused"
    assert seen_by == {stage.original, stage.promoted}, "each answer names the version that made it"
    assert {answer.model for answer in answered[:before]} == {stage.original}
    after = [a for a in answered[:broken_until] if a.sent_at > promoted_at]
    assert {answer.model for answer in after} <= {stage.promoted}, "who is drained answers nothing more"
    assert WORKERS < peak <= 2 * WORKERS
    for piece in ("done", "failed", "the image's model"):
        assert piece in reported
    assert stage.promoted in listed and stage.broken in listed


def test_an_abort_returns_and_a_rollout_of_nothing_keeps_nothing(tmp_path: Path, stage: Stage) -> None:
    added = run(model, "add", str(shipped_as(tmp_path / "third", "3"))).output
    assert "resnet50-imagenet@3 added" in added
    again = CliRunner().invoke(model, ["add", str(tmp_path / "third")])
    assert "with the same files" in again.output
    wait_until(lambda: len(stage.fleet.describe()) == WORKERS, "the fleet does not start")

    (image,) = Clients()["ec2"].describe_images(Owners=["self"])["Images"]
    unknown = CliRunner().invoke(rollout, ["start", "--image", "ami-0123456789abcdef0"])
    assert "ami-0123456789abcdef0" in str(unknown.exception)
    before = stage.releases.read().current
    run(rollout, "start", "--model", "resnet50-imagenet@3", "--image", image["ImageId"], "--no-wait")
    aborted = CliRunner().invoke(rollout, ["abort"])
    record = stage.releases.read()
    assert aborted.exit_code == 0, (aborted.exception, record)
    assert (record.current, record.past[-1].result) == (before, "aborted")
    wait_until(lambda: {i.release for i in stage.fleet.describe()} == {before.number}, "some of the release are left")

    os.environ.pop("EIC_MIN_SIZE")
    stage.stack.process("controller").terminate()
    stage.stack.process("controller").wait(PATIENCE_SECONDS)
    stage.stack.environment["EIC_MIN_SIZE"] = "0"
    stage.stack.start_controller()
    wait_until(lambda: stage.fleet.describe() == [], "the fleet does not come to rest")
    with FleetSizeHistory(stage.fleet, interval_seconds=0.5) as history:
        run(model, "promote", "3")
        assert history.wait_for_zero(PATIENCE_SECONDS)
        assert history.peak == 1
    assert stage.releases.read().current.model == "resnet50-imagenet@3"
