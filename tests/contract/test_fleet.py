"""Fleet on the embedded EC2."""

from __future__ import annotations

import pytest

from aws.clients import Clients
from aws.fleet import Fleet
from core.settings import Settings


@pytest.fixture
def fleet(clients: Clients, settings: Settings) -> Fleet:
    return Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name)


def test_a_fleet_begins_empty(fleet: Fleet) -> None:
    assert fleet.describe() == []
    fleet.terminate([])


def test_a_launch_brings_as_many_as_asked_for_named_and_alive(fleet: Fleet) -> None:
    launched = fleet.launch(15, fleet.describe())
    found = fleet.describe()
    assert len(launched) == 15
    assert {instance.instance_id for instance in found} == set(launched)
    assert {instance.name for instance in found} == {f"app-tier-{number}" for number in range(1, 16)}
    assert {instance.state for instance in found} <= {"pending", "running"}


def test_free_names_are_used_again(fleet: Fleet) -> None:
    fleet.launch(3, [])
    second = next(instance for instance in fleet.describe() if instance.name == "app-tier-2")
    fleet.terminate([second.instance_id])
    fleet.launch(2, fleet.describe())
    assert sorted(instance.name for instance in fleet.describe()) == [f"app-tier-{number}" for number in range(1, 5)]


def test_terminated_instances_are_gone_and_may_be_terminated_again(fleet: Fleet) -> None:
    first, second = fleet.launch(2, [])
    fleet.terminate([first])
    fleet.terminate([first])
    assert [instance.instance_id for instance in fleet.describe()] == [second]


def test_instances_of_others_are_not_ours(clients: Clients, settings: Settings, fleet: Fleet) -> None:
    (ours,) = fleet.launch(1, [])
    other = Fleet(clients["ec2"], settings.launch_template_name, "another-fleet")
    (theirs,) = other.launch(1, [])
    clients["ec2"].run_instances(
        LaunchTemplate={"LaunchTemplateName": settings.launch_template_name}, MinCount=1, MaxCount=1
    )
    assert [instance.instance_id for instance in fleet.describe()] == [ours]
    assert [instance.instance_id for instance in other.describe()] == [theirs]


def test_instances_are_what_the_launch_template_says(clients: Clients, fleet: Fleet) -> None:
    launched = fleet.launch(1, [])
    (reservation,) = clients["ec2"].describe_instances(InstanceIds=launched)["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["InstanceType"] == "t3.small"


def test_instances_that_ended_long_ago_are_forgotten(clients: Clients, fleet: Fleet) -> None:
    launched: list[str] = []
    for _ in range(2):
        generation = fleet.launch(30, [])
        fleet.terminate(generation)
        launched += generation
    (alive,) = fleet.launch(1, [])
    assert [instance.instance_id for instance in fleet.describe()] == [alive]
    known = {
        entry["InstanceId"]: entry["State"]["Name"]
        for page in clients["ec2"].get_paginator("describe_instances").paginate()
        for reservation in page["Reservations"]
        for entry in reservation["Instances"]
    }
    assert launched[0] not in known
    assert known[launched[-1]] == "terminated"
    fleet.terminate([launched[0], alive])
    assert fleet.describe() == [], "an id that EC2 has forgotten does not save the others"
