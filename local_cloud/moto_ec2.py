"""Patch moto's EC2: launch as many instances as EC2 would, honour client tokens, and drop old terminated instances.

*Launching*: ``RunInstances`` with ``MinCount`` and ``MaxCount`` launches as many instances as EC2 has capacity for, in
moto always ``MinCount``.  The embedded cloud has capacity, so here it is ``MaxCount``.

*EC2 Fleet*: moto ignores the client token of ``CreateFleet``, so that a repeated request launches again; it never
lacks capacity, ignores the launch template's metadata options, does not tag instances with the launch template, and
keeps every fleet for ever.  Here a repeated token returns the first response, the header `CAPACITY_HEADER` (see
`local_cloud.faults`) limits the capacity, and only the latest fleets are kept, as long as their tokens.

*Terminated instances*: EC2 describes them for about an hour, moto for ever, and each adds a third of a millisecond to
every description of the fleet.  Their network interfaces and addresses are never free again either: a subnet would have
none left after some thousand launches.  Here only the latest ones are kept.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from itertools import chain
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import MetadataOptions
from moto.ec2.responses.fleets import Fleets
from moto.ec2.responses.instances import InstanceResponse

TERMINATED_INSTANCES_KEPT = 50
FLEETS_KEPT = 100
CAPACITY_HEADER = "X-Embedded-Capacity"

_TERMINATED = 48  # EC2's code of the state
_moto_run_instances = InstanceResponse.run_instances
_moto_create_fleet = Fleets.create_fleet
_one_at_a_time = threading.Lock()
_responses: dict[tuple[str, str, str], dict[str, Any]] = {}


def _run_instances(self: InstanceResponse) -> ActionResult:
    _drop_terminated(self.ec2_backend)
    self.params["MinCount"] = self.params["MaxCount"]
    return _moto_run_instances(self)


def _create_fleet(self: Fleets) -> ActionResult:
    """Creates a fleet once for each client token; concurrent requests are serialized."""
    with _one_at_a_time:
        token = (self.current_account, self.region, self._get_param("ClientToken", ""))
        if token[-1] and token in _responses:
            return ActionResult(copy.deepcopy(_responses[token]))
        response = _launch_fleet(self)
        if token[-1]:
            _responses[token] = copy.deepcopy(response)
        for old in list(_responses)[:-FLEETS_KEPT]:
            del _responses[old]
        return ActionResult(response)


def _launch_fleet(self: Fleets) -> dict[str, Any]:
    backend = self.ec2_backend
    _drop_terminated(backend)
    for fleet_id in list(backend.fleets)[:-FLEETS_KEPT]:
        del backend.fleets[fleet_id]
    target = self.params["TargetCapacitySpecification"]
    requested = int(target["TotalTargetCapacity"])
    capacity = min(requested, int(self.headers.get(CAPACITY_HEADER, requested)))
    response: dict[str, Any] = {"FleetId": "", "Instances": []}
    if capacity:
        target["TotalTargetCapacity"] = capacity
        result = _moto_create_fleet(self).result
        assert isinstance(result, dict)
        response = dict(result)
        _apply_template(self, response.get("Instances", []))
    missing = {
        "ErrorCode": "InsufficientInstanceCapacity",
        "ErrorMessage": "There is no Spot capacity or On-Demand capacity available that matches your request.",
    }
    response["Errors"] = [missing] if capacity < requested else []
    return response


def _apply_template(self: Fleets, launched: list[dict[str, Any]]) -> None:
    """Sets the metadata options and the tags that EC2 gives to instances of a launch template."""
    for config in self.params["LaunchTemplateConfigs"]:
        name = config["LaunchTemplateSpecification"].get("LaunchTemplateName")
        if name is None:
            continue
        version = self.ec2_backend.get_launch_template_by_name(name).default_version()
        options = version.data.get("MetadataOptions")
        tags = {"aws:ec2launchtemplate:id": version.template.id, "aws:ec2launchtemplate:version": str(version.number)}
        for instance_id in chain.from_iterable(entry["InstanceIds"] for entry in launched):
            instance = self.ec2_backend.get_instance(instance_id)
            instance.add_tags(tags)
            if options:
                instance.metadata_options = MetadataOptions(options)


def _drop_terminated(backend: EC2Backend) -> None:
    """Removes all but the latest `TERMINATED_INSTANCES_KEPT` terminated instances, with all that refers to them."""
    every = chain.from_iterable(reservation.instances for reservation in list(backend.reservations.values()))
    terminated = [instance for instance in every if instance.state_code == _TERMINATED]
    dropped = terminated[:-TERMINATED_INSTANCES_KEPT]
    if not dropped:
        return
    for instance in dropped:
        backend.tags.pop(instance.id, None)
        for interface in instance.nics.values():
            backend.enis.pop(interface.id, None)
        if instance.subnet_id:
            subnet = backend.get_subnet(instance.subnet_id)
            for address in instance._private_ips:
                subnet.del_subnet_ip(address)
    gone = {instance.id for instance in dropped}
    for reservation in list(backend.reservations.values()):
        reservation.instances = [instance for instance in reservation.instances if instance.id not in gone]
        if not reservation.instances:
            backend.reservations.pop(reservation.id, None)


def install() -> Callable[[], None]:
    """Installs the patches of ``RunInstances`` and ``CreateFleet``; returns a function that removes them."""
    InstanceResponse.run_instances = _run_instances  # type: ignore[method-assign]
    Fleets.create_fleet = _create_fleet  # type: ignore[method-assign]
    return _uninstall


def _uninstall() -> None:
    InstanceResponse.run_instances = _moto_run_instances  # type: ignore[method-assign]
    Fleets.create_fleet = _moto_create_fleet  # type: ignore[method-assign]
