"""Launching through EC2 Fleet: one ``CreateFleet`` request of type *instant* chooses among types and subnets.

EC2 responds at once, with the instances launched and with an error for each pool in which it could not launch.  Errors
are classified here: retryable ones (no capacity, a limit, throttling) and those that an operator must fix.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import cloud_errors
from core.releases import FIRST, Release

log = logging.getLogger(__name__)

# "Error codes for the Amazon EC2 API" in the EC2 developer guide: those that may pass when the request is
# retried later.
_RETRYABLE = frozenset(
    (
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientReservedInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
        "RequestThrottled",
        "ResourceCountExceeded",
        "SpotMaxPriceTooLow",
        "Throttling",
        "ThrottlingException",
        "UnfulfillableCapacity",
    )
)
# After these it is unknown whether instances were launched.
_UNKNOWN_OUTCOME = frozenset(
    ("InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable")
)


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """The parameters of all launches of a fleet; see `aws.fleet.Fleet`."""

    launch_template_name: str
    instance_types: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    tags: dict[str, str]
    spot: bool = False

    def parameters(self, count: int, client_token: str, release: Release, *, spot: bool) -> dict[str, Any]:
        """The arguments of ``CreateFleet``."""
        pools = itertools.product(
            [{"InstanceType": name} for name in self.instance_types] or [{}],
            [{"SubnetId": name} for name in self.subnet_ids] or [{}],
        )
        image = {"ImageId": release.image_id} if release.image_id else {}
        overrides = [{**instance_type, **subnet, **image} for instance_type, subnet in pools]
        return {
            "Type": "instant",
            "ClientToken": client_token,
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateName": self.launch_template_name,
                        "Version": "$Default",
                    },
                    "Overrides": [override for override in overrides if override],
                }
            ],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": "spot" if spot else "on-demand",
            },
            "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
            "OnDemandOptions": {"AllocationStrategy": "lowest-price"},
            "TagSpecifications": [
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in (self.tags | release.tags).items()],
                }
            ],
        }


@dataclass(frozen=True, slots=True)
class LaunchProblem:
    """Why fewer instances were launched than requested; an operator must fix it unless it is `retryable`."""

    code: str
    sentence: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """The result of a launch; it has a `problem` exactly if fewer instances were launched than requested."""

    instance_ids: tuple[str, ...]
    problem: LaunchProblem | None = None


class Launcher:
    """Launch instances with the parameters of `request`."""

    def __init__(self, client: Any, request: LaunchRequest) -> None:
        self._client = client
        self._request = request

    def launch(self, count: int, client_token: str, release: Release = FIRST) -> Launch:
        """Launch up to `count` instances of a release, on demand where spot has no capacity.

        Called again with the same arguments, it launches no more instances and returns the same result.

        Raises:
            CloudError: there was no response, or one that leaves open which instances were launched.
        """
        if not self._request.spot:
            return self._create_fleet(count, client_token, release, spot=False)
        spot = self._create_fleet(count, f"{client_token}-spot", release, spot=True)
        missing = count - len(spot.instance_ids)
        if not missing:
            return spot
        if spot.problem is not None:
            log.warning("launching %d instances on demand instead: %s", missing, spot.problem.sentence)
        rest = self._create_fleet(missing, f"{client_token}-rest", release, spot=False)
        return Launch((*spot.instance_ids, *rest.instance_ids), rest.problem)

    def _create_fleet(self, count: int, client_token: str, release: Release, *, spot: bool) -> Launch:
        parameters = self._request.parameters(count, client_token, release, spot=spot)
        with cloud_errors("launching instances"):
            try:
                response = self._client.create_fleet(**parameters)
            except ClientError as error:
                if (problem := _refusal(error)) is None:
                    raise
                return Launch((), problem)
        launched = tuple(
            instance_id for entry in response.get("Instances", []) for instance_id in entry.get("InstanceIds", [])
        )
        return Launch(launched, _shortfall(response.get("Errors", [])) if len(launched) < count else None)


def is_retryable(code: str) -> bool:
    """Whether a launch that failed with this code of EC2 may succeed later."""
    return code in _RETRYABLE or code.endswith("LimitExceeded")


def _refusal(error: ClientError) -> LaunchProblem | None:
    """Why EC2 refused the whole request; None if it is unknown whether instances were launched."""
    details = error.response.get("Error", {})
    code = details.get("Code", "")
    if code in _UNKNOWN_OUTCOME:
        return None
    return _problem(code, details.get("Message", ""))


def _shortfall(errors: list[dict[str, Any]]) -> LaunchProblem:
    """Why instances are missing; a retryable problem if there is one among the errors."""
    problems = [_problem(entry.get("ErrorCode", ""), entry.get("ErrorMessage", "")) for entry in errors]
    problems.sort(key=lambda problem: not problem.retryable)
    return problems[0] if problems else _problem("InsufficientInstanceCapacity", "fewer were launched than requested")


def _problem(code: str, message: str) -> LaunchProblem:
    retryable = is_retryable(code)
    advice = "the launch will be retried" if retryable else "an operator must fix this"
    return LaunchProblem(code, f"EC2 does not launch instances: {code}: {message.rstrip('.')}; {advice}", retryable)
