"""EC2 in moto: launches as many instances as EC2 would, and forgets those that ended.

*Launching*: asked for ``MinCount`` to ``MaxCount`` instances, EC2 launches as many as it has capacity for,
moto ``MinCount``.  The embedded cloud has capacity, so here it is ``MaxCount``.

*Forgetting*: EC2 shows a terminated instance for about an hour, moto for ever, and each makes every
description of the fleet a third of a millisecond slower.  Here only the latest ones are kept.
"""

from __future__ import annotations

from itertools import chain

from moto.core.responses import ActionResult
from moto.ec2.models import EC2Backend
from moto.ec2.responses.instances import InstanceResponse

TERMINATED_INSTANCES_KEPT = 50

_TERMINATED = 48  # EC2's code of the state
_moto_run_instances = InstanceResponse.run_instances


def _run_instances(self: InstanceResponse) -> ActionResult:
    _forget_terminated(self.ec2_backend)
    self.params["MinCount"] = self.params["MaxCount"]
    return _moto_run_instances(self)


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
    """Makes ``RunInstances`` launch ``MaxCount`` instances, and forget old ones first."""
    InstanceResponse.run_instances = _run_instances  # type: ignore[method-assign]
