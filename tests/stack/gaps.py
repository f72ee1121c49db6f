"""Patch moto's CloudFormation where creating a stack by change set, updating or deleting it would fail.

docs/reference/stack-on-the-emulator.md lists what is patched here and what the emulator lacks.
"""

from __future__ import annotations

from typing import Any

from moto.autoscaling.models import FakeAutoScalingGroup
from moto.cloudformation import models, parsing
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.internet_gateways import InternetGateway
from moto.ec2.models.nat_gateways import NatGateway
from moto.ec2.models.route_tables import RouteTable
from moto.ec2.models.vpcs import VPCEndPoint
from moto.elbv2.models import FakeTargetGroup, elbv2_backends

_moto_load_parameters = parsing.ResourceMap.load_parameters
_moto_update_resource = parsing.parse_and_update_resource


def _apply(self: models.ChangeSet) -> None:
    """Sets a stack's outputs from the change set's template, which moto does not."""
    self.stack.resource_map.update(self.template_dict, self.parameters)
    self.stack.output_map = parsing.OutputMap(self.stack.resource_map, self.template_dict, self.stack.stack_id)


def _load_parameters(self: parsing.ResourceMap) -> None:
    """Joins lists that keep their previous value, which moto would split again, and splits defaults of lists."""
    self.input_parameters = {
        name: ",".join(value) if isinstance(value, list) else value for name, value in self.input_parameters.items()
    }
    _moto_load_parameters(self)
    for name, parameter in self._template.get("Parameters", {}).items():
        value = self.resolved_parameters[name]
        if parameter["Type"] == "CommaDelimitedList" and isinstance(value, str):
            self.resolved_parameters[name] = self._parsed_resources[name] = value.split(",")


def _parameter_list(self: models.Stack) -> list[dict[str, Any]]:
    """Describes a list as CloudFormation does, joined by commas; moto describes Python's list."""
    return [
        {"ParameterKey": name, "ParameterValue": ",".join(value) if isinstance(value, list) else value}
        for name, value in self.resource_map.resolved_parameters.items()
    ]


def _update_resource(logical_id: str, resource_json: Any, resources: Any, account_id: str, region_name: str) -> Any:
    """Keeps resources that moto cannot update, and skips those that a condition leaves out.

    moto drops the former, so that they are never deleted, and fails for the latter.  It looks for Auto Scaling groups
    by new names, so they cannot be updated.
    """
    resource = resources[logical_id]
    if resource is None or isinstance(resource, FakeAutoScalingGroup):
        return resource
    updated = _moto_update_resource(logical_id, resource_json, resources, account_id, region_name)
    return resource if updated is None else updated


def _delete(resource: Any, account_id: str, region_name: str) -> None:
    """Deletes resources that moto's CloudFormation can create but not delete."""
    ec2 = ec2_backends[account_id][region_name]
    if isinstance(resource, RouteTable):
        resource.associations.clear()
        ec2.delete_route_table(resource.id)
    elif isinstance(resource, InternetGateway):
        if resource.vpc is not None:
            ec2.detach_internet_gateway(resource.id, resource.vpc.id)
        ec2.delete_internet_gateway(resource.id)
    elif isinstance(resource, VPCEndPoint):
        resource.route_table_ids = []  # they may be deleted already
        ec2.delete_vpc_endpoints([resource.id])
    elif isinstance(resource, NatGateway):
        ec2.delete_nat_gateway(resource.id)
    elif isinstance(resource, ElasticAddress):
        ec2.release_address(allocation_id=resource.allocation_id)
    else:
        elbv2_backends[account_id][region_name].delete_target_group(resource.arn)


def install() -> None:
    """Installs the patches in this process."""
    models.ChangeSet.apply = _apply
    parsing.ResourceMap.load_parameters = _load_parameters
    models.Stack.parameter_list = property(_parameter_list)  # type: ignore[assignment]
    parsing.parse_and_update_resource = _update_resource  # type: ignore[assignment]
    for kind in (RouteTable, InternetGateway, VPCEndPoint, NatGateway, ElasticAddress, FakeTargetGroup):
        kind.delete = _delete  # type: ignore[union-attr]
