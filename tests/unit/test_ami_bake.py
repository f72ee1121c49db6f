"""Baking cleans up after every failure, and pruning never takes the image that is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.bake import BuildPlan, agent_script, bake, image_name, image_tags, provision_script, prunable
from aws.builders import Builder
from aws.images import MachineImage
from core.errors import CloudError
from core.packaging import Archive

ARCHIVE = Archive(b"program")
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
PLAN = BuildPlan(
    name="image-1",
    base="/base",
    instance_type="t3.small",
    instance_profile="profile",
    architecture="amd64",
    bundle="models/m",
    tags={"model": "m@1"},
)
STEPS = ("put", "url", "resolve", "launch", "run", "seal", "wait_until_stopped", "create", "available", "label")


@dataclass
class Cloud:
    """All three services; fails at the step `fails_at`, with what it did remembered."""

    fails_at: str = ""
    error: BaseException = field(default_factory=lambda: CloudError("out of order"))
    calls: list[str] = field(default_factory=list)
    scripts: list[Sequence[str]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    instances: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails_at:
            raise self.error

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body  # the answer may get lost after the effect
        self._step("put")

    def url(self, key: str, valid_seconds: int) -> str:
        self._step("url")
        return f"https://bucket/{key}?signature=a&b='c'"

    def resolve(self, base: str) -> str:
        self._step("resolve")
        return "ami-base"

    def launch(self, builder: Builder, name: str) -> str:
        self._step("launch")
        self.instances.add("i-1")
        return "i-1"

    def terminate(self, instance_id: str) -> None:
        self._step("terminate")
        self.instances.discard(instance_id)

    def run(self, instance_id: str, script: Sequence[str], ready_seconds: float, timeout_seconds: float) -> str:
        self._step("seal" if self.scripts else "run")
        self.scripts.append(script)
        return ""

    def wait_until_stopped(self, instance_id: str, timeout_seconds: float) -> None:
        self._step("wait_until_stopped")

    def create(self, instance_id: str, name: str, tags: object) -> str:
        self._step("create")
        assert instance_id in self.instances
        self.images.add("ami-1")
        return "ami-1"

    def wait_until_available(self, image_id: str, timeout_seconds: float) -> MachineImage:
        self._step("available")
        return self.describe(image_id)

    def label_snapshots(self, image: MachineImage) -> None:
        self._step("label")

    def describe(self, image_id: str) -> MachineImage:
        return MachineImage(image_id, "image-1", "available", NOW)

    def delete(self, image: MachineImage | str) -> None:
        if isinstance(image, str):
            self._step("delete archive")
            self.objects.pop(image, None)
        else:
            self._step("delete image")
            self.images.discard(image.image_id)

    def bake(self) -> MachineImage:
        return bake(PLAN, ARCHIVE, self, self, self, lambda what: None)


def test_a_bake_leaves_an_image_and_nothing_else() -> None:
    cloud = Cloud()
    assert cloud.bake().image_id == "ami-1"
    assert cloud.calls == [*STEPS, "terminate", "delete archive"]
    assert (cloud.images, cloud.instances, cloud.objects) == ({"ami-1"}, set(), {})


@pytest.mark.parametrize("error", [CloudError("out of order"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_nothing(step: str, error: BaseException) -> None:
    cloud = Cloud(fails_at=step, error=error)
    with pytest.raises(type(error)):
        cloud.bake()
    assert cloud.calls[: STEPS.index(step) + 1] == list(STEPS[: STEPS.index(step) + 1])
    assert (cloud.images, cloud.instances, cloud.objects) == (set(), set(), {})


@pytest.mark.parametrize("step", ["terminate", "delete archive"])
def test_a_failed_removal_is_logged_and_stops_no_other(step: str, caplog: pytest.LogCaptureFixture) -> None:
    cloud = Cloud(fails_at=step)
    assert cloud.bake().image_id == "ami-1"
    assert {"terminate", "delete archive"} <= set(cloud.calls)
    assert "could not be removed" in caplog.text


def test_the_builder_checks_what_it_fetches_and_a_second_run() -> None:
    script = provision_script("https://b/k?a=1&b='2'; rm -rf /", ARCHIVE.sha256, "models/m")
    assert script[0] == "set -eu"
    (fetch,) = [line for line in script if "urlretrieve" in line]
    assert "'https://b/k?a=1&b='\"'\"'2'\"'\"'; rm -rf /'" in fetch
    assert any(ARCHIVE.sha256 in line and "sha256sum --check" in line for line in script)
    assert sum("provision.sh" in line for line in script) == 2 and "0 changed" in script[-1]


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_agents_script_is_one_that_python_and_the_shell_take(architecture: str) -> None:
    script = agent_script(architecture)
    assert script.startswith("#!/bin/sh\n")
    python = script.partition("<<'END'\n")[2].partition("\nEND\n")[0]
    compile(python, "fetch-agent.py", "exec")
    assert f"/debian_{architecture}/" in python and "{" in python


def test_an_image_says_what_it_is_made_of() -> None:
    assert image_name("1.2.0", "abc1234", NOW) == "elastic-app-tier-1.2.0-abc1234-20261121123000"
    tags = image_tags("1.2.0", "abc1234", "m@1", "arm64", ARCHIVE)
    assert tags == {
        "version": "1.2.0",
        "commit": "abc1234",
        "model": "m@1",
        "architecture": "arm64",
        "sha256": ARCHIVE.sha256,
    }


def images(count: int) -> list[MachineImage]:
    return [MachineImage(f"ami-{age}", f"n-{age}", "available", NOW - timedelta(days=age)) for age in range(count)]


@pytest.mark.parametrize(
    ("keep", "in_use", "deleted"),
    [
        (3, None, []),
        (2, None, ["ami-2"]),
        (0, None, ["ami-0", "ami-1", "ami-2"]),
        (0, "ami-1", ["ami-0", "ami-2"]),
        (1, "ami-2", ["ami-1"]),
        (1, "ami-0", ["ami-1", "ami-2"]),
    ],
)
def test_the_oldest_images_are_pruned(keep: int, in_use: str | None, deleted: list[str]) -> None:
    assert [image.image_id for image in prunable(images(3), keep, in_use)] == deleted


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.randoms())
def test_pruning_keeps_the_newest_and_the_one_in_use(count: int, keep: int, used: int, dice: object) -> None:
    all_images = images(count)
    shuffled = list(all_images)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    deleted = prunable(shuffled, keep, f"ami-{used}")
    left = [image for image in all_images if image not in deleted]
    assert all_images[:keep] == [image for image in all_images[:keep] if image in left]
    assert used >= count or all_images[used] in left
    assert len(left) <= min(count, keep + 1)
