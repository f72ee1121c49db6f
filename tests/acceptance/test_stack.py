"""A stack on the emulator: deployed by the command, used by the real tiers, updated, and removed without a trace."""

from __future__ import annotations

import functools
import hashlib
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api_client.client import ApiClient
from aws.buckets import ResultStore
from aws.builders import BUILDER_TAG, Builders
from aws.fleet import Fleet
from aws.stacks import Stack
from cli.deploy import deploy, destroy, status
from cli.doctor import doctor
from cli.model import model
from cli.rollout import rollout
from cli.token import token
from core.settings import Settings
from infra import deployment, stack_waiter, teardown, template
from infra.deployer_actions import ACTIONS, ROLE_ACTIONS
from infra.outputs import settings_of
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.resources import notify_queue
from local_cloud.sample_photos import from_packages, make_crops
from tests.bundles import shipped_as
from tests.stack.emulated import emulated, emulated_simple
from tests.stack.world import Account, Tiers

NAME = "photos"
# What the doctor itself asks for, and does without where it may not.
LOOKING = {
    "sts:GetCallerIdentity",
    "iam:SimulatePrincipalPolicy",
    "iam:GetInstanceProfile",
    "servicequotas:GetServiceQuota",
}
ANSWER_SECONDS = 60.0

pytestmark = pytest.mark.acceptance


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(template, "text", emulated)
    monkeypatch.setattr(template, "simple_text", emulated_simple)
    for module in (deployment, teardown):
        monkeypatch.setattr(module, "PollPolicy", functools.partial(stack_waiter.PollPolicy, poll_seconds=0.05))
    made = Account(monkeypatch)
    yield made
    made.close()


def run(command: object, *arguments: str) -> Result:
    result = CliRunner().invoke(command, [*arguments], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result


def classify(api: ApiClient, photos: list[Path]) -> str:
    """Uploads photos and waits for all answers; returns the batch's id."""
    batch_id = api.create_batch()
    assert api.upload(batch_id, photos, lambda count: None) == []
    answers = list(api.follow(batch_id, len(photos), ANSWER_SECONDS))
    assert [answer["error"] for answer in answers] == [None] * len(photos)
    return batch_id


def roll(account: Account, api: ApiClient, photos: list[Path], settings: dict[str, str], folder: Path) -> str:
    """Rolls an image and a model out under a batch, whose id it returns once every photo of it is answered."""
    image_id: str = account.clients["ec2"].register_image(Name="next", RootDeviceName="/dev/xvda")["ImageId"]
    batch_id = api.create_batch()
    assert api.upload(batch_id, photos * 5, lambda count: None) == []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        run(model, "add", str(shipped_as(folder / "next-model", "2")))
        run(rollout, "start", "--image", image_id, "--model", "resnet50-imagenet@2")
        assert "resnet50-imagenet@2" in run(rollout, "status").output
    answers = list(api.follow(batch_id, len(photos) * 5, ANSWER_SECONDS))
    assert [answer["error"] for answer in answers] == [None] * len(answers)
    current = account.clients["ec2"].describe_instances(Filters=[{"Name": "image-id", "Values": [image_id]}])
    assert current["Reservations"], "nothing was launched from the new image"
    return batch_id


def test_a_stack_serves_is_updated_and_leaves_nothing(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = account.left()
    photos = make_crops(12, 7, tmp_path, from_packages())

    created = run(deploy, "--stack-name", NAME, "--yes", *account.parameters(MaxWorkers="2"))
    assert "InputBucket" in created.output
    assert "https://photos.example.org" in created.output
    exported = run(status, "--stack-name", NAME, "--env").stdout
    state = Stack(account.clients["cloudformation"], NAME).state()
    assert state is not None
    settings = settings_of(state.outputs)
    assert exported.splitlines() == [f"export {name}={value}" for name, value in settings.items()]
    program = account.clients["s3"].list_objects_v2(Bucket=settings["EIC_STATE_BUCKET"], Prefix="program/")
    assert [entry["Key"] for entry in program["Contents"]] == [f"program/{state.parameters['ProgramSha256']}.tar.gz"]

    tiers = Tiers(account, NAME, tmp_path / "logs")
    try:
        tiers.start()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            secret = run(token, "create", "--owner", "another-owner").stdout.split()[0]
        api = ApiClient(tiers.url, secret)
        # moto's CloudFormation passes over the notifications that the template configures.
        notify_queue(account.clients, Settings.from_environment(settings))
        dropped = f"drop/a folder/{photos[0].name}"
        account.clients["s3"].upload_file(str(photos[0]), settings["EIC_INPUT_BUCKET"], dropped)
        first = classify(api, photos[:8])
        results = ResultStore(account.clients["s3"], settings["EIC_OUTPUT_BUCKET"])
        wait_until(lambda: results.exists(dropped), "the photo that was put into the bucket is answered")
        assert results.get(dropped).failure is None
        fleet = Fleet(account.clients["ec2"], f"{NAME}-worker", NAME)
        wait_until(lambda: fleet.describe() == [], "the fleet is back at 0")
        assert "none in the ALARM state" in run(status, "--stack-name", NAME).output

        # Settings of workers: a new version of the launch template, which the next worker is launched from.
        changed = run(
            deploy,
            "--stack-name",
            NAME,
            "--yes",
            "--parameter",
            "WorkerSettings=EIC_TOP_K=2",
            "--parameter",
            "ImageDays=3",
        )
        assert "UPDATE_COMPLETE" in changed.output
        after = Stack(account.clients["cloudformation"], NAME).state()
        assert after is not None
        assert {name: after.outputs[name] for name in state.outputs if name != "LaunchTemplateVersion"} == {
            name: value for name, value in state.outputs.items() if name != "LaunchTemplateVersion"
        }
        second = classify(api, photos[8:])
        kept = {batch: [results.get(stored.key) for stored in results.list(f"{batch}/")] for batch in (first, second)}
        assert [len(result.predictions) for result in kept[first]] == [5] * 8
        assert [len(result.predictions) for result in kept[second]] == [2] * 4

        # A new image and a new model, rolled out while photos are being answered.
        third = roll(account, api, photos, settings, tmp_path)
        answered = [results.get(stored.key) for stored in results.list(f"{third}/")]
        assert {result.model for result in answered} <= {"resnet50-imagenet@1", "resnet50-imagenet@2"}
        fourth = classify(api, photos[:4])
        assert {results.get(s.key).model for s in results.list(f"{fourth}/")} == {"resnet50-imagenet@2"}

        # Roles: every kind of request was made, and none was refused.
        assert not account.guard.refused
        assert {request.key for request in account.guard.asked} == {"web", "controller", "worker"}
        # On EC2 no process outlives its instance, so nothing writes to a bucket that is being emptied.
        tiers.stop()
        destroyed = CliRunner().invoke(destroy, ["--stack-name", NAME], input=f"{NAME}\n", catch_exceptions=False)
        assert destroyed.exit_code == 0, destroyed.output
    finally:
        tiers.stop()
    assert account.left() == before


def build_on_the_emulator(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `elastic deploy --simple` build an image: moto runs no scripts, so that no builder stops itself."""
    ec2 = account.clients["ec2"]
    account.clients["ssm"].put_parameter(Name="/debian", Value=account.image_id, Type="String")
    monkeypatch.setattr("cli.image.BASE_PARAMETER", "/debian")

    def sleep(seconds: float) -> None:
        builders = [
            {"Name": "tag-key", "Values": [BUILDER_TAG]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        for found in ec2.describe_instances(Filters=builders)["Reservations"]:
            ec2.stop_instances(InstanceIds=[entry["InstanceId"] for entry in found["Instances"]])

    monkeypatch.setattr("cli.image.Builders", functools.partial(Builders, sleep=sleep))


def make_profile(account: Account, name: str) -> None:
    iam = account.clients["iam"]
    iam.create_role(RoleName="LabRole", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName="LabRole")


@pytest.mark.parametrize("profile", ["", "LabInstanceProfile"], ids=["with roles", "without the right to make roles"])
def test_a_simple_stack_is_made_from_nothing_labels_photos_and_leaves_nothing(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    build_on_the_emulator(account, monkeypatch)
    monkeypatch.setattr("cli.deploy_simple.state_folder", lambda environment: tmp_path)
    # The commands' own key: in the second case it may make no roles.
    operator = LOCAL_CREDENTIALS["AWS_ACCESS_KEY_ID"]
    if profile:
        make_profile(account, profile)
        look = ["--aws", "--parameter", f"BaseImageId={account.image_id}"]
        account.guard.forbidden[operator] = ROLE_ACTIONS
        stopped = CliRunner().invoke(doctor, look)
        assert stopped.exit_code == 1 and "may make no IAM roles: iam:CreateRole" in stopped.output
        assert "Nothing stops the deployment" in run(doctor, *look, "--instance-profile", profile).output
    else:
        account.guard.forbidden[operator] = ()
    before, images_before = account.left(), account.images()
    photos = make_crops(6, 7, tmp_path, from_packages())
    options = ["--instance-profile", profile] if profile else []

    made = run(deploy, "--stack-name", NAME, "--yes", *account.simple_parameters(MaxWorkers="2"), *options).output
    after = account.left()
    if profile:
        assert {kind: after.get(kind) for kind in ("roles", "profiles")} == {
            kind: before.get(kind) for kind in ("roles", "profiles")
        }
    state = Stack(account.clients["cloudformation"], NAME).state()
    assert state is not None
    built = account.images()
    assert len(built) == len(images_before) + 2, "an image and its snapshot"
    secret, address = re.findall(r"eic_[\w-]+", made)[0], state.outputs["Address"]
    certificate = tmp_path / "aws" / f"{NAME}.pem"
    assert f"https://{address}" in made and f"destroy --stack-name {NAME}" in made
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).digest()
    assert digest.hex(":").upper() in made

    tiers = Tiers(account, NAME, tmp_path / "logs", address=address, roles=not profile)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    try:
        tiers.start()
        classify(ApiClient(tiers.url, secret), photos)
        # An update makes no second image, no other token and no other certificate.
        again = run(deploy, "--stack-name", NAME, "--yes", *account.simple_parameters(MaxWorkers="3")).output
        assert "eic_" not in again and digest.hex(":").upper() in again
        assert account.images() == built
        assert not account.guard.refused
        keys = {operator} if profile else {operator, "machine", "worker"}
        assert {request.key for request in account.guard.asked} == keys
        tiers.stop()
        destroyed = run(destroy, "--stack-name", NAME, "--yes").output
        assert "1 machine images" in destroyed
        asked = {request.action for request in account.guard.asked if request.key == operator}
        assert asked - LOOKING <= set(ACTIONS), "the doctor asks for what the commands do"
    finally:
        tiers.stop()
    assert account.left() == before
    assert account.images() == images_before


def wait_until(done: object, sentence: str, timeout_seconds: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not in time: {sentence}"
        time.sleep(0.2)
