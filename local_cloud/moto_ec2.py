"""EC2 in moto: launches as many instances as EC2 would, once for each client token, and forgets those that ended.

*Launching*: ``RunInstances``, asked for ``MinCount`` to ``MaxCount`` instances, launches as many as EC2 has capacity
for, in moto ``MinCount``.  The embedded cloud has capacity, so here it is ``MaxCount``.

*EC2 Fleet*: moto ignores the client token of ``CreateFleet``, so that a request sent again launches again; it never
lacks capacity, forgets the launch template's metadata options, and keeps every fleet for ever.  Here a token is
answered as before, the header `CAPACITY_HEADER` (see `local_cloud.faults`) says how many instances there is capacity
for, and of fleets only the latest are kept, as long as their tokens.

*Forgetting*: EC2 shows a terminated instance for about an hour, moto for ever, and each makes every
description of the fleet a third of a millisecond slower.  Here only the latest ones are kept.
"""

from __future__ import annotations

import copy
import threading
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
_answers: dict[tuple[str, str, str], dict[str, Any]] = {}


def _run_instances(self: InstanceResponse) -> ActionResult:
    _forget_terminated(self.ec2_backend)
    self.params["MinCount"] = self.params["MaxCount"]
    return _moto_run_instances(self)


def _create_fleet(self: Fleets) -> ActionResult:
    """Like moto's, once for each client token; two requests with one token wait for each other."""
    with _one_at_a_time:
        token = (self.current_account, self.region, self._get_param("ClientToken", ""))
        if token[-1] and token in _answers:
            return ActionResult(copy.deepcopy(_answers[token]))
        answer = _launch_fleet(self)
        if token[-1]:
            _answers[token] = copy.deepcopy(answer)
        for forgotten in list(_answers)[:-FLEETS_KEPT]:
            del _answers[forgotten]
        return ActionResult(answer)


def _launch_fleet(self: Fleets) -> dict[str, Any]:
    backend = self.ec2_backend
    _forget_terminated(backend)
    for fleet_id in list(backend.fleets)[:-FLEETS_KEPT]:
        del backend.fleets[fleet_id]
    target = self.params["TargetCapacitySpecification"]
    wanted = int(target["TotalTargetCapacity"])
    capacity = min(wanted, int(self.headers.get(CAPACITY_HEADER, wanted)))
    answer: dict[str, Any] = {"FleetId": "", "Instances": []}
    if capacity:
        target["TotalTargetCapacity"] = capacity
        result = _moto_create_fleet(self).result
        assert isinstance(result, dict)
        answer = dict(result)
        _apply_metadata_options(self, answer.get("Instances", []))
    missing = {
        "ErrorCode": "InsufficientInstanceCapacity",
        "ErrorMessage": "There is no Spot capacity or On-Demand capacity available that matches your request.",
    }
    answer["Errors"] = [missing] if capacity < wanted else []
    return answer


def _apply_metadata_options(self: Fleets, launched: list[dict[str, Any]]) -> None:
    for config in self.params["LaunchTemplateConfigs"]:
        name = config["LaunchTemplateSpecification"].get("LaunchTemplateName")
        if name is None:
            continue
        options = self.ec2_backend.get_launch_template_by_name(name).default_version().data.get("MetadataOptions")
        if options:
            for instance_id in chain.from_iterable(entry["InstanceIds"] for entry in launched):
                self.ec2_backend.get_instance(instance_id).metadata_options = MetadataOptions(options)


def _forget_terminated(backend: EC2Backend) -> None:
    """Drops all but the latest `TERMINATED_INSTANCES_KEPT` terminated instances, with their tags."""
    every = chain.from_iterable(reservation.instances for reservation in list(backend.reservations.values()))
    terminated = [instance.id for instance in every if instance.state_code == _TERMINATED]
    forgotten = set(terminated[:-TERMINATED_INSTANCES_KEPT])
    if not forgotten:
        return
    for instance_id in forgotten:
        backend.tags.pop(instance_id, None)
    for reservation in list(backend.reservations.values()):
        reservation.instances = [instance for instance in reservation.instances if instance.id not in forgotten]
        if not reservation.instances:
            backend.reservations.pop(reservation.id, None)


def install() -> None:
    """Makes ``RunInstances`` and ``CreateFleet`` launch what EC2 would, and forget old instances first."""
    InstanceResponse.run_instances = _run_instances  # type: ignore[method-assign]
    Fleets.create_fleet = _create_fleet  # type: ignore[method-assign]
