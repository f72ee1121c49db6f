"""The fleet, on the embedded EC2 and in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from aws.clients import Clients
from aws.fleet import OWNER_TAG, Fleet
from aws.in_memory import InMemoryFleet
from core.settings import Settings
from local_cloud.moto_ec2 import CAPACITY_HEADER
from local_cloud.resources import create_resources
from local_cloud.supervisor import EmulatedMachines

pytestmark = pytest.mark.not_on_aws(reason="launches instances, which needs a real image and costs money")

_tokens = itertools.count(1)


@pytest.fixture
def capacity(clients: Clients) -> Iterator[list[int]]:
    """How many instances EC2 has capacity for, in order of the requests; none named: enough."""
    left: list[int] = []
    events = clients["ec2"].meta.events

    def limit(params: dict[str, Any], **_: Any) -> None:
        if left:
            params["headers"][CAPACITY_HEADER] = str(left.pop(0))

    events.register("before-call.ec2.CreateFleet", limit, unique_id="capacity")
    yield left
    events.unregister("before-call.ec2.CreateFleet", unique_id="capacity")


@pytest.fixture
def set_capacity(fleet: Fleet | InMemoryFleet, request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Sets how many instances the next launch has capacity for."""
    if isinstance(fleet, InMemoryFleet):
        memory = fleet
        return lambda count: setattr(memory, "capacity", count)
    left: list[int] = request.getfixturevalue("capacity")
    return lambda count: left.append(count)


def launch(fleet: Fleet, count: int) -> list[str]:
    launched = fleet.launch(count, f"token-{next(_tokens)}")
    assert launched.problem is None
    return list(launched.instance_ids)


def test_a_fleet_begins_empty(fleet: Fleet) -> None:
    assert fleet.describe() == []
    fleet.terminate([])


def test_a_launch_brings_as_many_as_asked_for_and_alive(fleet: Fleet) -> None:
    launched = launch(fleet, 15)
    found = fleet.describe()
    assert len(launched) == 15
    assert {instance.instance_id for instance in found} == set(launched)
    assert {instance.state for instance in found} <= {"pending", "running"}


def test_a_launch_sent_again_launches_nothing_more_and_answers_the_same(fleet: Fleet) -> None:
    first = fleet.launch(3, "the-same")
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: fleet.launch(3, "the-same"), range(4)))
    assert again == [first] * 4
    assert len(fleet.describe()) == 3
    assert launch(fleet, 3) != list(first.instance_ids)


def test_instances_get_the_lowest_free_names(fleet: Fleet) -> None:
    fleet.name(launch(fleet, 3), [])
    second = next(instance for instance in fleet.describe() if instance.name == "app-tier-2")
    fleet.terminate([second.instance_id])
    new = launch(fleet, 2)
    fleet.name([*new, "i-0123456789abcdef0"], [instance.name for instance in fleet.describe()])
    assert sorted(instance.name for instance in fleet.describe()) == [f"app-tier-{number}" for number in range(1, 5)]


def test_another_prefix_names_them_too(clients: Clients, settings: Settings) -> None:
    fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name, name_prefix="app-tier-instance-")
    fleet.name(launch(fleet, 2), [])
    assert {instance.name for instance in fleet.describe()} == {"app-tier-instance-1", "app-tier-instance-2"}


@pytest.mark.own_emulator
def test_the_web_tiers_instance_is_created_once_and_is_not_of_the_fleet(
    clients: Clients, settings: Settings, embedded_fleet: Fleet
) -> None:
    named = replace(settings, web_instance_name=f"web-{settings.fleet_name}")
    for _ in range(2):
        create_resources(clients, named)
    filters = [{"Name": "tag:Name", "Values": [named.web_instance_name]}]
    found = [
        instance
        for reservation in clients["ec2"].describe_instances(Filters=filters)["Reservations"]
        for instance in reservation["Instances"]
    ]
    assert [instance["State"]["Name"] for instance in found] == ["running"]
    assert embedded_fleet.describe() == []


@pytest.mark.own_emulator
def test_what_ec2_has_no_capacity_for_is_reported(fleet: Fleet, set_capacity: Callable[[int], None]) -> None:
    set_capacity(2)
    some = fleet.launch(5, "some")
    set_capacity(0)
    none = fleet.launch(5, "none")
    assert (len(some.instance_ids), len(none.instance_ids)) == (2, 0)
    for launched in (some, none):
        assert launched.problem is not None and launched.problem.retryable
        assert launched.problem.code == "InsufficientInstanceCapacity"
    assert len(fleet.describe()) == 2


@pytest.mark.own_emulator
def test_what_spot_has_no_capacity_for_is_launched_on_demand(
    clients: Clients, settings: Settings, capacity: list[int]
) -> None:
    fleet = Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name, ["t3.small"], spot=True)
    capacity += [2, 3]
    launched = fleet.launch(5, "spot")
    assert len(launched.instance_ids) == 5 and launched.problem is None
    assert fleet.launch(5, "spot") == launched
    assert {instance.instance_id for instance in fleet.describe()} == set(launched.instance_ids)
    fleet.terminate(launched.instance_ids)
    assert fleet.describe() == []


def test_a_wrong_launch_template_is_nothing_that_passes(clients: Clients) -> None:
    launched = Fleet(clients["ec2"], "no-such-template", "x").launch(1, "wrong")
    assert launched.instance_ids == ()
    assert launched.problem is not None and not launched.problem.retryable
    assert "no-such-template" in launched.problem.sentence or "template" in launched.problem.sentence


def test_terminated_instances_are_gone_and_may_be_terminated_again(fleet: Fleet) -> None:
    first, second = launch(fleet, 2)
    fleet.terminate([first])
    fleet.terminate([first])
    assert [instance.instance_id for instance in fleet.describe()] == [second]


def test_what_has_ended_is_distinguished_from_what_ec2_does_not_know(fleet: Fleet) -> None:
    first, second = launch(fleet, 2)
    fleet.terminate([first])
    assert fleet.ended([first, second, "i-0123456789abcdef0"]) == {first}


def test_instances_of_others_are_not_ours(clients: Clients, settings: Settings, embedded_fleet: Fleet) -> None:
    (ours,) = launch(embedded_fleet, 1)
    other = Fleet(clients["ec2"], settings.launch_template_name, "another-fleet")
    (theirs,) = launch(other, 1)
    clients["ec2"].run_instances(
        LaunchTemplate={"LaunchTemplateName": settings.launch_template_name}, MinCount=1, MaxCount=1
    )
    assert [instance.instance_id for instance in embedded_fleet.describe()] == [ours]
    assert [instance.instance_id for instance in other.describe()] == [theirs]


def test_only_instances_of_the_fleet_and_its_template_become_workers(
    clients: Clients, settings: Settings, embedded_fleet: Fleet
) -> None:
    (ours,) = launch(embedded_fleet, 1)
    launch(Fleet(clients["ec2"], settings.launch_template_name, "another-fleet"), 1)
    name, owner = {"Key": "Name", "Value": "web-instance"}, {"Key": OWNER_TAG, "Value": settings.fleet_name}
    image_id = clients["ec2"].register_image(Name=f"web-{settings.fleet_name}")["ImageId"]
    template = {"LaunchTemplateName": settings.launch_template_name}
    # A web server beside the fleet, one that claims to be ours, and one from the template without an owner.
    for source, tags in (
        ({"ImageId": image_id}, [name]),
        ({"ImageId": image_id}, [owner]),
        ({"LaunchTemplate": template}, [name]),
    ):
        clients["ec2"].run_instances(
            **source, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}]
        )
    machines = EmulatedMachines(clients["ec2"], settings.fleet_name, settings.launch_template_name)
    assert [instance.instance_id for instance in machines.running()] == [ours]


def test_instances_are_of_a_type_asked_for_and_want_imdsv2(clients: Clients, embedded_fleet: Fleet) -> None:
    launched = launch(embedded_fleet, 1)
    (reservation,) = clients["ec2"].describe_instances(InstanceIds=launched)["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance["InstanceType"] in ("t3.small", "t3a.small")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.usefixtures("launch_template")
def test_instances_are_launched_in_a_subnet_asked_for(clients: Clients, settings: Settings) -> None:
    subnets = [subnet["SubnetId"] for subnet in clients["ec2"].describe_subnets()["Subnets"][:2]]
    launched = launch(Fleet(clients["ec2"], settings.launch_template_name, settings.fleet_name, (), subnets), 1)
    (reservation,) = clients["ec2"].describe_instances(InstanceIds=launched)["Reservations"]
    assert reservation["Instances"][0]["SubnetId"] in subnets


@pytest.mark.own_emulator
def test_instances_that_ended_long_ago_are_forgotten(clients: Clients, embedded_fleet: Fleet) -> None:
    launched: list[str] = []
    for _ in range(2):
        generation = launch(embedded_fleet, 30)
        embedded_fleet.terminate(generation)
        launched += generation
    (alive,) = launch(embedded_fleet, 1)
    assert [instance.instance_id for instance in embedded_fleet.describe()] == [alive]
    known = {
        entry["InstanceId"]: entry["State"]["Name"]
        for page in clients["ec2"].get_paginator("describe_instances").paginate()
        for reservation in page["Reservations"]
        for entry in reservation["Instances"]
    }
    assert launched[0] not in known
    assert known[launched[-1]] == "terminated"
    embedded_fleet.terminate([launched[0], alive])
    assert embedded_fleet.describe() == [], "an id that EC2 has forgotten does not save the others"
