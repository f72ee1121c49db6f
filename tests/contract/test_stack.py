"""The stack's template on the emulator's CloudFormation, without the tiers."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from aws.stacks import Stack
from cli.deploy import deploy, destroy, status
from core.settings import Settings
from infra import deployment, stack_waiter, teardown, template
from infra.outputs import settings_of
from local_cloud.resources import create_resources
from tests.stack.emulated import emulated, original
from tests.stack.world import Account

pytestmark = pytest.mark.own_emulator

# What moto's CloudFormation passes over; docs/reference/stack-on-the-emulator.md says so.
UNKNOWN_TYPES = {
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}
# What SQS sets by itself, or what differs because the queues are others.
NOT_COMPARED = {
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "RedrivePolicy",
    "Policy",
    # The default on AWS since 2022, and so of the embedded cloud's queues, had it encryption.
    "SqsManagedSseEnabled",
}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setattr(template, "text", emulated)
    for module in (deployment, teardown):
        monkeypatch.setattr(module, "PollPolicy", functools.partial(stack_waiter.PollPolicy, poll_seconds=0.05))
    made = Account(monkeypatch)
    yield made
    made.close()


def run(command: Any, *arguments: str, exit_status: int = 0) -> str:
    result = CliRunner().invoke(command, ["--stack-name", "photos", *arguments])
    assert result.exit_code == exit_status, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.mark.parametrize(
    "parameters",
    [{}, {"WorkerNetwork": "nat", "AlarmEmail": "", "PurchaseOption": "spot", "S3PrefixListId": "pl-63a5400a"}],
    ids=["public addresses", "NAT"],
)
def test_a_stack_comes_and_goes_without_a_trace(account: Account, parameters: dict[str, str]) -> None:
    before = account.left()
    assert "Nothing was changed" in run(deploy, "--dry-run", *account.parameters(**parameters))
    assert account.left() == before
    run(deploy, "--yes", *account.parameters(**parameters))
    stack = Stack(account.clients["cloudformation"], "photos")
    made = {resource.logical_id for resource in stack.resources()}
    wanted = original()["Resources"]
    conditions = {
        "MakeNat": bool(parameters),
        "UseSpot": bool(parameters),
        "ConfineWorkers": bool(parameters),
        "HasAlarmEmail": not parameters,
        "MakeName": False,
    }
    expected = {
        name
        for name, resource in wanted.items()
        if conditions.get(resource.get("Condition", ""), True) and resource["Type"] not in UNKNOWN_TYPES
    }
    assert made == expected
    shown = json.loads(run(status, "--json").splitlines()[-1])
    assert shown["name"] == "photos" and shown["status"] == "CREATE_COMPLETE" and shown["fleet"] is None
    assert shown["outputs"] == stack.state().outputs  # type: ignore[union-attr]
    # Without its name nothing is deleted.
    assert "was deleted" in repr(CliRunner().invoke(destroy, ["--stack-name", "photos"], input="other\n").exception)
    assert stack.state() is not None
    assert "No resource with the stack's tag remains" in run(destroy, "--yes")
    assert account.left() == before


def test_an_existing_network_is_used(account: Account) -> None:
    ec2 = account.clients["ec2"]
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{index}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for index, zone in enumerate("ab")
    ]
    listed = ",".join(subnets)
    before = account.left()
    run(deploy, "--yes", *account.parameters(VpcId=vpc, PublicSubnetIds=listed, WorkerSubnetIds=listed))
    assert account.left()["networks"] == before["networks"]
    assert f"EIC_SUBNET_IDS={listed}\n" in account.user_data("photos-controller")
    run(destroy, "--yes")
    assert account.left() == before


def test_queues_are_those_of_the_embedded_cloud(account: Account) -> None:
    run(deploy, "--yes", *account.parameters())
    state = Stack(account.clients["cloudformation"], "photos").state()
    assert state is not None
    stack_settings = Settings.from_environment(settings_of(state.outputs))
    create_resources(account.clients, Settings())
    sqs = account.clients["sqs"]

    def attributes(name: str) -> dict[str, str]:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return found

    for field in ("queue_name", "dead_letter_queue_name"):
        theirs, ours = attributes(getattr(stack_settings, field)), attributes(getattr(Settings(), field))
        assert {name: value for name, value in theirs.items() if name not in NOT_COMPARED} == {
            name: value for name, value in ours.items() if name not in NOT_COMPARED
        }
    redrive = [
        json.loads(attributes(settings.queue_name)["RedrivePolicy"]) for settings in (stack_settings, Settings())
    ]
    assert {int(policy["maxReceiveCount"]) for policy in redrive} == {Settings().max_receive_count}


def test_the_workers_template_follows_an_update(account: Account) -> None:
    run(deploy, "--yes", *account.parameters())
    run(deploy, "--yes", "--parameter", "WorkerSettings=EIC_TOP_K=2")
    # The default version, which is what the controller launches from, is the new one.
    assert "EIC_TOP_K=2" in account.user_data("photos-worker")
    # Another one keeps what is not named.
    run(deploy, "--yes", "--parameter", "MaxWorkers=3")
    assert "EIC_TOP_K=2" in account.user_data("photos-worker")


def test_versions_and_unfinished_uploads_do_not_keep_a_bucket(account: Account) -> None:
    run(deploy, "--yes", *account.parameters())
    state = Stack(account.clients["cloudformation"], "photos").state()
    assert state is not None
    s3, bucket = account.clients["s3"], state.outputs["InputBucket"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket=bucket, Key="2026/a.jpg", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="2026/a.jpg")
    s3.create_multipart_upload(Bucket=bucket, Key="2026/b.jpg")
    run(destroy, "--yes")
    assert "buckets" not in account.left()
