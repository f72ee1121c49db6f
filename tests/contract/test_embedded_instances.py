"""The embedded EC2 itself, in this process: what is left of instances that ended."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from local_cloud import moto_caches, moto_ec2

REGION = "us-east-1"

pytestmark = pytest.mark.own_emulator


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of EC2, which has a launch template, and keeps two ended instances."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # they take seconds to load
    monkeypatch.setattr(moto_ec2, "TERMINATED_INSTANCES_KEPT", 2)
    monkeypatch.setattr(moto_ec2, "FLEETS_KEPT", 2)
    with contextlib.ExitStack() as undo:
        for patches in (moto_caches, moto_ec2):
            undo.callback(patches.install())
        undo.enter_context(mock_aws())
        client = boto3.client("ec2", region_name=REGION)
        image = client.register_image(Name="image")["ImageId"]
        client.create_launch_template(
            LaunchTemplateName="template", LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
        )
        yield client


def launch(ec2: Any, token: str) -> str:
    """Launches an instance as the controller does; returns its id."""
    template = {"LaunchTemplateName": "template", "Version": "$Default"}
    response = ec2.create_fleet(
        Type="instant",
        ClientToken=token,
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    )
    [instance_id] = [instance_id for entry in response["Instances"] for instance_id in entry["InstanceIds"]]
    return str(instance_id)


def test_nothing_refers_to_an_instance_that_ended_long_ago(ec2: Any) -> None:
    """Whatever did, such as its network interface or its address, would grow with each launch."""
    backend, references = ec2_backends[DEFAULT_ACCOUNT_ID][REGION], []
    for number in range(6):
        instance_id = launch(ec2, f"token-{number}")
        references.append(weakref.ref(backend.get_instance(instance_id)))
        ec2.terminate_instances(InstanceIds=[instance_id])
    launch(ec2, "token")
    gc.collect()
    assert [reference() is None for reference in references] == [True] * 4 + [False] * 2
    assert len(backend.enis) == 3
