"""An AWS account as a deployment finds it: its network, quotas, instance types, and what its credentials may do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.builders import is_code
from aws.clients import Clients, cloud_errors
from core.errors import CloudError

# EC2's responses to a request with DryRun: it would have been allowed, or not.
_WOULD_SUCCEED = "DryRunOperation"
_WOULD_BE_REFUSED = "UnauthorizedOperation"
# How services say that the credentials do not permit a request.
ACCESS_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
# "Amazon EC2 service quotas" and "Amazon VPC quotas": the codes of the quotas, all of the service ec2.
ON_DEMAND_VCPUS = "L-1216C47A"
ELASTIC_ADDRESSES = "L-0263D0A3"
# Families that the quota of on-demand vCPUs is for.
_STANDARD_FAMILIES = frozenset(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"))
_ACTIONS_PER_REQUEST = 50


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials are used."""

    account: str
    arn: str

    @property
    def policy_source(self) -> str:
        """The ARN of the user or role, as IAM's simulator takes it: a session's role instead of the session."""
        prefix, separator, rest = self.arn.partition(":assumed-role/")
        return f"{prefix.replace(':sts:', ':iam:')}:role/{rest.partition('/')[0]}" if separator else self.arn


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet with its availability zone and the number of addresses that are free in it."""

    subnet_id: str
    zone: str
    free_addresses: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request would be allowed; None if that cannot be known, and then `reason` has EC2's words."""

    allowed: bool | None
    reason: str = ""


class Account:
    """Read an account and ask what its credentials may do; nothing is changed.

    Every method raises `CloudError` where a service fails after botocore's retries.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def identity(self) -> Identity:
        """Return whose credentials these are."""
        with cloud_errors("asking whose credentials these are"):
            found = self._clients["sts"].get_caller_identity()
        return Identity(found["Account"], found["Arn"])

    def default_vpc(self) -> str | None:
        """Return the id of the region's default VPC, if there is one."""
        with cloud_errors("describing the default VPC"):
            found = self._clients["ec2"].describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        return found[0]["VpcId"] if found else None

    def subnets(self, vpc_id: str) -> list[Subnet]:
        """List the subnets of a VPC, in the order of their zones."""
        with cloud_errors("describing subnets"):
            pages = self._clients["ec2"].get_paginator("describe_subnets")
            found = [
                Subnet(entry["SubnetId"], entry["AvailabilityZone"], entry["AvailableIpAddressCount"])
                for page in pages.paginate(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
                for entry in page["Subnets"]
            ]
        return sorted(found, key=lambda subnet: (subnet.zone, subnet.subnet_id))

    def zones_with(self, instance_type: str) -> set[str]:
        """Return the availability zones in which an instance type is offered; empty if the region lacks it."""
        with cloud_errors(f"looking for the instance type {instance_type}"):
            pages = self._clients["ec2"].get_paginator("describe_instance_type_offerings")
            return {
                entry["Location"]
                for page in pages.paginate(
                    LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
                )
                for entry in page["InstanceTypeOfferings"]
            }

    def vcpus(self, instance_type: str) -> int:
        """Return the vCPUs of an instance type."""
        with cloud_errors(f"describing the instance type {instance_type}"):
            (found,) = self._clients["ec2"].describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
        return int(found["VCpuInfo"]["DefaultVCpus"])

    def architectures(self, instance_type: str) -> set[str]:
        """Return the processor architectures of an instance type, by EC2's names: ``x86_64``, ``arm64``."""
        with cloud_errors(f"describing the instance type {instance_type}"):
            (found,) = self._clients["ec2"].describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
        return set(found["ProcessorInfo"]["SupportedArchitectures"])

    def used_vcpus(self) -> int:
        """Count the vCPUs of the on-demand instances that count against the quota."""
        filters = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        with cloud_errors("describing instances"):
            pages = self._clients["ec2"].get_paginator("describe_instances").paginate(Filters=filters)
            entries = [entry for page in pages for found in page["Reservations"] for entry in found["Instances"]]
        return sum(_vcpus(entry) for entry in entries if _counts(entry))

    def used_addresses(self) -> int:
        """Count the elastic addresses of the region."""
        with cloud_errors("describing addresses"):
            return len(self._clients["ec2"].describe_addresses()["Addresses"])

    def quota(self, code: str) -> float | None:
        """Return a quota of EC2; None if it cannot be read, for which there may be no permission."""
        try:
            with cloud_errors(f"reading the quota {code}"):
                found = self._clients["service-quotas"].get_service_quota(ServiceCode="ec2", QuotaCode=code)
        except CloudError as error:
            if isinstance(error.__cause__, ClientError):
                return None
            raise
        return float(found["Quota"]["Value"])

    def profile_roles(self, name: str) -> list[str] | None:
        """Return the ARNs of an instance profile's roles; None if the credentials may not look.

        Raises:
            NotFoundError: there is no such profile.
        """
        try:
            with cloud_errors(f"looking for the instance profile {name}"):
                found = self._clients["iam"].get_instance_profile(InstanceProfileName=name)
        except CloudError as error:
            if is_code(error, *ACCESS_DENIED):
                return None
            raise
        return [role["Arn"] for role in found["InstanceProfile"]["Roles"]]

    def simulate(self, source_arn: str, actions: Sequence[str]) -> dict[str, bool] | None:
        """Ask IAM which actions a user or role may do; None if the credentials may not ask, or IAM cannot answer.

        Actions whose policies depend on more than the region are left out.  IAM's simulator knows no policy of the
        organization, so that an allowed action may still be refused.
        """
        region = self._clients["ec2"].meta.region_name
        context = [{"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": [region], "ContextKeyType": "string"}]
        found: dict[str, bool] = {}
        try:
            with cloud_errors("simulating the credentials' policies"):
                pages = self._clients["iam"].get_paginator("simulate_principal_policy")
                for start in range(0, len(actions), _ACTIONS_PER_REQUEST):
                    some = list(actions[start : start + _ACTIONS_PER_REQUEST])
                    for page in pages.paginate(PolicySourceArn=source_arn, ActionNames=some, ContextEntries=context):
                        found |= {
                            result["EvalActionName"]: result["EvalDecision"] == "allowed"
                            for result in page["EvaluationResults"]
                            if not result.get("MissingContextValues")
                        }
        except CloudError as error:
            if isinstance(error.__cause__, ClientError):
                return None
            raise
        return found

    def may_launch(self, instance_type: str, image_id: str, subnet_id: str, profile: str) -> Verdict:
        """Ask EC2, without launching, whether an instance of this type could be launched with this profile."""
        given = {"IamInstanceProfile": {"Name": profile}} if profile else {}
        return self._dry(
            lambda ec2: ec2.run_instances(
                ImageId=image_id,
                InstanceType=instance_type,
                SubnetId=subnet_id,
                MinCount=1,
                MaxCount=1,
                DryRun=True,
                **given,
            )
        )

    def may_allocate_address(self) -> Verdict:
        """Ask EC2, without doing it, whether an elastic address could be allocated."""
        return self._dry(lambda ec2: ec2.allocate_address(Domain="vpc", DryRun=True))

    def may_create_security_group(self, vpc_id: str) -> Verdict:
        """Ask EC2, without doing it, whether a security group could be created."""
        return self._dry(
            lambda ec2: ec2.create_security_group(
                GroupName="elastic-doctor", Description="dry run", VpcId=vpc_id, DryRun=True
            )
        )

    def may_create_launch_template(self, image_id: str) -> Verdict:
        """Ask EC2, without doing it, whether a launch template could be created."""
        return self._dry(
            lambda ec2: ec2.create_launch_template(
                LaunchTemplateName="elastic-doctor", LaunchTemplateData={"ImageId": image_id}, DryRun=True
            )
        )

    def _dry(self, request: Callable[[Any], object]) -> Verdict:
        try:
            with cloud_errors("trying a request without doing it"):
                request(self._clients["ec2"])
        except CloudError as error:
            if not isinstance(error.__cause__, ClientError):
                raise
            details = error.__cause__.response["Error"]
            if details["Code"] == _WOULD_SUCCEED:
                return Verdict(True)
            allowed = False if details["Code"] == _WOULD_BE_REFUSED else None
            return Verdict(allowed, f"{details['Code']}: {details.get('Message', '')}".rstrip(": "))
        return Verdict(None, "EC2 ignored that the request was a trial")


def subnets_offering(subnets: Iterable[Subnet], zones: set[str]) -> list[Subnet]:
    """The subnets in zones that offer an instance type; all of them if no zone is known to."""
    found = list(subnets)
    return [subnet for subnet in found if subnet.zone in zones] or found


def _counts(entry: dict[str, Any]) -> bool:
    family = re.match("[a-z]*", entry["InstanceType"])
    return family is not None and family[0] in _STANDARD_FAMILIES and entry.get("InstanceLifecycle") != "spot"


def _vcpus(entry: dict[str, Any]) -> int:
    options = entry.get("CpuOptions", {})
    return int(options.get("CoreCount", 1)) * int(options.get("ThreadsPerCore", 1))
