"""Baking, listing and pruning on the embedded cloud.

moto's Systems Manager accepts a command and says at once that it succeeded, but runs nothing: what the script does is
proven by `make test-image`.  Nor does its builder switch itself off: here the test does it while the build waits.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from ami.bake import BuildPlan, bake, prunable
from aws.builders import BUILDER_TAG, Builder, Builders, ImageBuildError
from aws.clients import Clients
from aws.images import Images, MachineImage
from aws.presigned_files import PresignedFileStore
from cli import main
from core.errors import CloudError, NotFoundError
from core.packaging import Archive
from core.settings import Settings

pytestmark = pytest.mark.not_on_aws(reason="launches instances, which needs a real image and costs money")

ARCHIVE = Archive(b"the program")
_numbers = itertools.count(1)


class Bench:
    """The services on the embedded cloud, with a clock of its own."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self.ec2, self.iam, self.ssm, self.s3 = (clients[name] for name in ("ec2", "iam", "ssm", "s3"))
        self.settings = settings
        self.now = 0.0
        self.stops_itself = True
        self.builders = Builders(self.ec2, self.ssm, lambda: self.now, self._sleep)
        self.images = Images(self.ec2, self.ssm, lambda: self.now, self._sleep)
        self.artifacts = PresignedFileStore(self.s3, settings.state_bucket)
        self.plan = self._plan()

    def bake(self) -> MachineImage:
        return bake(self.plan, ARCHIVE, self.builders, self.images, self.artifacts, lambda what: None)

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """The builders of this plan that are in one of `states`."""
        filters = [
            {"Name": f"tag:{BUILDER_TAG}", "Values": [self.plan.name]},
            {"Name": "instance-state-name", "Values": list(states)},
        ]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [entry for page in pages for found in page["Reservations"] for entry in found["Instances"]]

    def archives(self) -> int:
        return int(self.s3.list_objects_v2(Bucket=self.settings.state_bucket, Prefix="images/")["KeyCount"])

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.stops_itself:
            self.ec2.stop_instances(InstanceIds=[entry["InstanceId"] for entry in self.instances("running")])

    def _plan(self) -> BuildPlan:
        number = next(_numbers)
        self.iam.create_instance_profile(InstanceProfileName=f"profile-{number}")
        base = self.ec2.register_image(Name=f"debian-{number}")["ImageId"]
        # AWS alone may write below /aws/service.
        self.ssm.put_parameter(Name=f"/debian/{number}", Value=base, Type="String")
        tags = {"version": "1", "commit": "abc", "model": "m@1", "sha256": ARCHIVE.sha256}
        return BuildPlan(
            f"image-{number}", f"/debian/{number}", "t3.small", f"profile-{number}", "amd64", "models/m", tags
        )


@pytest.fixture
def bench(clients: Clients, settings: Settings, launch_template: str) -> Iterator[Bench]:
    bench = Bench(clients, settings)
    yield bench
    for image in bench.images.list():
        bench.images.delete(image)


def test_a_baked_image_says_what_it_is_and_nothing_else_is_left(bench: Bench) -> None:
    image = bench.bake()
    assert image.state == "available" and image.name == bench.plan.name
    assert image.tags.items() >= bench.plan.tags.items()
    (snapshot,) = bench.ec2.describe_snapshots(SnapshotIds=list(image.snapshot_ids))["Snapshots"]
    assert {"Key": "elastic:model", "Value": "m@1"} in snapshot["Tags"]
    assert [found.image_id for found in bench.images.list()] == [image.image_id]
    assert not bench.instances("pending", "running", "stopping", "stopped")
    assert bench.archives() == 0


def test_a_builder_is_launched_as_the_plan_says(bench: Bench) -> None:
    bench.bake()
    (builder,) = bench.instances("terminated", "shutting-down")
    assert builder["InstanceType"] == "t3.small"
    assert builder["MetadataOptions"]["HttpTokens"] == "required"
    tags = {tag["Key"]: tag["Value"] for tag in builder["Tags"]}
    assert "elastic:fleet" not in tags, "the controller would take it for a worker"


def test_the_root_volume_is_encrypted(bench: Bench) -> None:
    requests: list[dict[str, Any]] = []
    event = "provide-client-params.ec2.RunInstances"

    def remember(params: dict[str, Any], **_: Any) -> None:
        requests.append(params)

    bench.ec2.meta.events.register(event, remember)
    bench.bake()
    bench.ec2.meta.events.unregister(event, remember)
    (mapping,) = requests[-1]["BlockDeviceMappings"]
    (base,) = bench.ec2.describe_images(ImageIds=[bench.builders.resolve(bench.plan.base)])["Images"]
    assert mapping["DeviceName"] == base["RootDeviceName"] and mapping["Ebs"]["Encrypted"] is True


def test_the_archive_can_be_read_at_its_address_only_while_it_is_needed(bench: Bench) -> None:
    bench.artifacts.put("images/a.tar.gz", ARCHIVE.body)
    assert urllib3.request("GET", bench.artifacts.url("images/a.tar.gz", 60)).data == ARCHIVE.body
    bench.artifacts.delete("images/a.tar.gz")
    bench.artifacts.delete("images/a.tar.gz")
    assert bench.archives() == 0


@pytest.mark.parametrize("operation", ["SendCommand", "GetCommandInvocation", "CreateImage"])
def test_a_refusal_removes_the_builder_and_the_archive(bench: Bench, operation: str) -> None:
    service = bench.ec2 if operation == "CreateImage" else bench.ssm
    event = f"before-call.{service.meta.service_model.service_id.hyphenize()}.{operation}"

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

    service.meta.events.register(event, refuse)
    try:
        with pytest.raises(CloudError, match="AccessDenied"):
            bench.bake()
    finally:
        service.meta.events.unregister(event, refuse)
    assert len(bench.instances("terminated", "shutting-down")) == 1
    assert not bench.instances("pending", "running", "stopping", "stopped")
    assert bench.archives() == 0 and bench.images.list() == []


def test_a_script_that_fails_ends_the_bake_with_what_it_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"Status": "Failed", "StandardErrorContent": "no space left\n"}
    monkeypatch.setattr(bench.ssm, "get_command_invocation", lambda **_: answer)
    with pytest.raises(ImageBuildError, match="status Failed: no space left"):
        bench.bake()
    assert not bench.instances("pending", "running", "stopping", "stopped")


def test_an_instance_that_systems_manager_does_not_know_yet_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stops_itself = False
    attempts, send = [], bench.ssm.send_command

    def send_command(**arguments: Any) -> Any:
        attempts.append(bench.now)
        if len(attempts) < 4:
            raise ClientError({"Error": {"Code": "InvalidInstanceId", "Message": "not yet"}}, "SendCommand")
        return send(**arguments)

    monkeypatch.setattr(bench.ssm, "send_command", send_command)
    instance_id = _launch(bench)
    bench.builders.run(instance_id, ["true"], ready_seconds=60, timeout_seconds=60)
    assert len(attempts) == 4 and attempts[-1] > attempts[0]
    attempts.clear()
    with pytest.raises(ImageBuildError, match="has not reported to Systems Manager in 1 s"):
        bench.builders.run(instance_id, ["true"], ready_seconds=1, timeout_seconds=60)
    bench.builders.terminate(instance_id)


def test_a_builder_that_stays_on_or_is_gone_is_reported(bench: Bench) -> None:
    bench.stops_itself = False
    instance_id = _launch(bench)
    with pytest.raises(ImageBuildError, match="has not switched itself off in 10 s"):
        bench.builders.wait_until_stopped(instance_id, 10)
    bench.builders.terminate(instance_id)
    with pytest.raises(ImageBuildError, match="was terminated from outside"):
        bench.builders.wait_until_stopped(instance_id, 10)


def test_pruning_deletes_images_with_their_snapshots_but_not_the_one_in_use(bench: Bench) -> None:
    made = []
    for _ in range(3):
        made.append(bench.bake())
        bench.plan = bench._plan()
    oldest = made[0]
    template = {"LaunchTemplateName": bench.settings.launch_template_name}
    bench.ec2.create_launch_template_version(**template, LaunchTemplateData={"ImageId": oldest.image_id})
    bench.ec2.modify_launch_template(**template, DefaultVersion="2")
    in_use = bench.images.in_use_by(bench.settings.launch_template_name)
    assert in_use == oldest.image_id
    # moto's times of creation have a resolution of one second: which of the others is the newest is not known.
    doomed = prunable(bench.images.list(), 0, in_use)
    for image in doomed:
        bench.images.delete(image)
    assert [image.image_id for image in bench.images.list()] == [oldest.image_id]
    left = {entry["SnapshotId"] for entry in bench.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    assert all(image.snapshot_ids for image in made)
    assert not left & {snapshot for image in doomed for snapshot in image.snapshot_ids}
    assert left >= set(oldest.snapshot_ids)


def test_images_that_other_templates_launch_are_in_use_elsewhere(bench: Bench) -> None:
    image = bench.bake()
    name = f"other-{next(_numbers)}"
    bench.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": image.image_id})
    assert image.image_id in bench.images.in_use_elsewhere(bench.settings.launch_template_name)
    assert image.image_id not in bench.images.in_use_elsewhere(name)
    bench.ec2.delete_launch_template(LaunchTemplateName=name)


def test_an_image_named_by_a_parameter_is_in_use(bench: Bench) -> None:
    image = bench.bake()
    bench.ssm.put_parameter(Name="/elastic/image", Value=image.image_id, Type="String", Overwrite=True)
    template = {"LaunchTemplateName": bench.settings.launch_template_name}
    data = {"ImageId": "resolve:ssm:/elastic/image"}
    bench.ec2.create_launch_template_version(**template, LaunchTemplateData=data)
    bench.ec2.modify_launch_template(**template, DefaultVersion="2")
    assert bench.images.in_use_by(bench.settings.launch_template_name) == image.image_id


def test_what_is_not_there_is_reported(bench: Bench) -> None:
    assert bench.images.in_use_by("no-such-template") is None
    with pytest.raises(CloudError):
        bench.builders.resolve("/no/such/parameter")
    calls: list[Callable[[], object]] = [lambda: bench.images.describe("ami-00000000")]
    for call in calls:
        with pytest.raises((NotFoundError, CloudError)):
            call()


def test_what_ec2_has_just_made_may_be_unknown_for_a_moment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image, describe, answers = bench.bake(), bench.images.describe, [NotFoundError(), None]

    def late(image_id: str) -> MachineImage:
        if (error := answers.pop(0)) is not None:
            raise error
        return describe(image_id)

    monkeypatch.setattr(bench.images, "describe", late)
    assert bench.images.wait_until_available(image.image_id, 60).image_id == image.image_id and not answers


@pytest.fixture
def elastic(bench: Bench, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `elastic image …` on the embedded cloud."""
    monkeypatch.setattr("cli.image.Clients", lambda: clients)
    monkeypatch.setattr("cli.image.Builders", lambda ec2, ssm: bench.builders)
    monkeypatch.setattr("cli.image.Images", lambda ec2, ssm: bench.images)
    monkeypatch.setattr("cli.session.require_aws", lambda: "us-east-1")
    monkeypatch.setenv("EIC_STATE_BUCKET", bench.settings.state_bucket)
    monkeypatch.setenv("EIC_LAUNCH_TEMPLATE_NAME", bench.settings.launch_template_name)
    # The builders' names are the command's own here, so all of them switch themselves off.
    monkeypatch.setattr(bench, "stops_itself", False)
    everyone = [{"Name": "tag-key", "Values": [BUILDER_TAG]}, {"Name": "instance-state-name", "Values": ["running"]}]

    def sleep(seconds: float) -> None:
        bench.now += seconds
        found = bench.ec2.describe_instances(Filters=everyone)["Reservations"]
        bench.ec2.stop_instances(InstanceIds=[entry["InstanceId"] for some in found for entry in some["Instances"]])

    monkeypatch.setattr(bench.builders, "_sleep", sleep)
    return lambda *arguments: CliRunner().invoke(main, ["image", *arguments])


def test_the_command_builds_lists_and_prunes(bench: Bench, elastic: Callable[..., Result]) -> None:
    profile = bench.plan.instance_profile
    built = elastic("build", "--instance-profile", profile, "--base", bench.plan.base, "--json")
    assert built.exit_code == 0, built.output
    made = json.loads(built.stdout)
    assert made["tags"]["model"] == "resnet50-imagenet@1" and len(made["tags"]["sha256"]) == 64
    assert [entry["image_id"] for entry in json.loads(elastic("list", "--json").stdout)] == [made["image_id"]]
    assert made["image_id"] in elastic("list").stdout
    assert "Nothing to delete" in elastic("prune", "--keep", "1", "--yes").stdout
    assert CliRunner().invoke(main, ["image", "prune", "--keep", "0"], input="n\n").exit_code == 1
    assert [image.image_id for image in bench.images.list()] == [made["image_id"]]
    assert elastic("prune", "--keep", "0", "--yes").exit_code == 0
    assert elastic("list").stdout == "No images.\n"


def test_a_failed_build_is_reported_in_one_sentence(bench: Bench, elastic: Callable[..., Result]) -> None:
    response = elastic("build", "--instance-profile", "no-such-profile", "--base", bench.plan.base)
    assert response.exit_code == 1 and "Error: launching the builder failed" in response.stderr
    assert "Traceback" not in response.output and bench.archives() == 0


def _launch(bench: Bench) -> str:
    base = bench.builders.resolve(bench.plan.base)
    return bench.builders.launch(Builder(base, "t3.small", bench.plan.instance_profile, "#!/bin/sh\n"), bench.plan.name)
