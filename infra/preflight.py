"""What will not work in an AWS account, and the setting for it, before anything is made: `elastic doctor --aws`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aws.account import ELASTIC_ADDRESSES, ON_DEMAND_VCPUS, Identity, Subnet, Verdict, subnets_offering
from core.errors import CloudError, NotFoundError
from core.settings import split_list
from infra.deployer_actions import ACTIONS, ROLE_ACTIONS

# What a new account may have: "Amazon VPC quotas".  That of vCPUs differs from account to account.
DEFAULT_ADDRESSES = 5
# The builder of the image is launched while no worker is needed.
BUILDER_TYPE = "t3.small"
# A worker and the instance need an address each.
FEW_ADDRESSES = 16

STOP, WARNING, OK = "stop", "warning", "ok"


class Account(Protocol):
    """The methods of `aws.account.Account`."""

    def identity(self) -> Identity: ...
    def default_vpc(self) -> str | None: ...
    def subnets(self, vpc_id: str) -> list[Subnet]: ...
    def zones_with(self, instance_type: str) -> set[str]: ...
    def vcpus(self, instance_type: str) -> int: ...
    def used_vcpus(self) -> int: ...
    def used_addresses(self) -> int: ...
    def quota(self, code: str) -> float | None: ...
    def profile_roles(self, name: str) -> list[str] | None: ...
    def simulate(self, source_arn: str, actions: Sequence[str]) -> dict[str, bool] | None: ...
    def may_launch(self, instance_type: str, image_id: str, subnet_id: str, profile: str) -> Verdict: ...
    def may_allocate_address(self) -> Verdict: ...
    def may_create_security_group(self, vpc_id: str) -> Verdict: ...
    def may_create_launch_template(self, image_id: str) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deployed.

    Attributes:
        base_image_id: an image with which launches of the instance are tried; empty if none could be found.
        worker_base_image_id: likewise of workers, whose processor may be another.
        tier_actions: what the role of the instances must be allowed to do, if it exists already.
    """

    machine_type: str
    worker_types: tuple[str, ...]
    max_workers: int
    vpc_id: str
    subnet_ids: tuple[str, ...]
    instance_profile: str
    base_image_id: str
    worker_base_image_id: str
    tier_actions: tuple[str, ...]

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, str],
        defaults: Mapping[str, str],
        base_image_ids: tuple[str, str],
        tier_actions: Sequence[str],
    ) -> Plan:
        """The plan of these parameters of the template; `defaults` are the template's own,
        `base_image_ids` those of the instance and of workers.

        Raises:
            ValueError: MaxWorkers is no number.
        """
        values = {**defaults, **parameters}
        return cls(
            machine_type=values["MachineInstanceType"],
            worker_types=split_list(values["InstanceTypes"]),
            max_workers=int(values["MaxWorkers"]),
            vpc_id=values.get("VpcId", ""),
            subnet_ids=split_list(values.get("SubnetIds", "")),
            instance_profile=values.get("InstanceProfile", ""),
            base_image_id=base_image_ids[0],
            worker_base_image_id=base_image_ids[1],
            tier_actions=tuple(tier_actions),
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact about the account in a sentence; `level` is ``stop``, ``warning`` or ``ok``, `setting` what to do."""

    level: str
    subject: str
    sentence: str
    setting: str = ""


def examine(account: Account, plan: Plan) -> list[Finding]:
    """Look at everything that the deployment needs; a service that fails is a finding, too."""
    identity = account.identity()
    found = [Finding(OK, "credentials", f"These are credentials of {identity.arn} in the account {identity.account}.")]
    network = _Network(account, plan)
    checks: tuple[Callable[[], list[Finding]], ...] = (
        lambda: _permissions(account, plan, identity),
        lambda: _profile(account, plan),
        network.findings,
        lambda: _types(account, plan),
        lambda: _vcpus(account, plan),
        lambda: _addresses(account),
        lambda: _trials(account, plan, network),
    )
    for check in checks:
        try:
            found += check()
        except CloudError as error:
            found.append(Finding(WARNING, "not checked", f"This could not be looked at: {error}."))
    return found


class _Network:
    """The VPC and the subnets of the plan, or the default ones."""

    def __init__(self, account: Account, plan: Plan) -> None:
        self._account, self._plan = account, plan
        self.vpc_id, self.subnet_id = plan.vpc_id, next(iter(plan.subnet_ids), "")

    def findings(self) -> list[Finding]:
        if not self.vpc_id:
            self.vpc_id = self._account.default_vpc() or ""
        if not self.vpc_id:
            return [
                Finding(
                    STOP,
                    "network",
                    "This region has no default VPC.",
                    "`aws ec2 create-default-vpc`, or --parameter VpcId=vpc-… --parameter SubnetIds=subnet-…,subnet-…",
                )
            ]
        subnets = [
            subnet
            for subnet in self._account.subnets(self.vpc_id)
            if not self._plan.subnet_ids or subnet.subnet_id in self._plan.subnet_ids
        ]
        if not subnets:
            named = "none of the subnets that are named" if self._plan.subnet_ids else "no subnets"
            return [Finding(STOP, "subnets", f"{self.vpc_id} has {named}.", "--parameter SubnetIds=subnet-…,subnet-…")]
        zones = self._account.zones_with(self._plan.machine_type)
        self.subnet_id = self.subnet_id or subnets_offering(subnets, zones)[0].subnet_id
        free = sum(subnet.free_addresses for subnet in subnets)
        level = OK if free >= FEW_ADDRESSES else WARNING if free else STOP
        sentence = f"{self.vpc_id} has {len(subnets)} subnets with {free:,} free addresses."
        return [
            Finding(
                level, "network", sentence, "" if level == OK else "--parameter VpcId=vpc-… --parameter SubnetIds=…"
            )
        ]


def _permissions(account: Account, plan: Plan, identity: Identity) -> list[Finding]:
    actions = ACTIONS if plan.instance_profile else (*ACTIONS, *ROLE_ACTIONS)
    allowed = account.simulate(identity.policy_source, actions)
    if allowed is None:
        return [
            Finding(
                WARNING,
                "permissions",
                "IAM does not let these credentials ask what they may do; the trials below show a part of it.",
                "If the deployment may make no roles: --instance-profile NAME",
            )
        ]
    denied = [action for action in actions if not allowed.get(action, True)]
    roles = [action for action in denied if action in ROLE_ACTIONS]
    others = [action for action in denied if action not in ROLE_ACTIONS]
    found = []
    if roles:
        sentence = f"These credentials may make no IAM roles: {', '.join(roles)}."
        found.append(Finding(STOP, "roles", sentence, "--instance-profile NAME, such as LabInstanceProfile"))
    if others:
        sentence = f"These credentials may not: {', '.join(others)}."
        found.append(Finding(STOP, "permissions", sentence, "ask the account's administrator to allow them"))
    return found or [Finding(OK, "permissions", f"IAM allows the {len(actions)} actions that a deployment needs.")]


def _profile(account: Account, plan: Plan) -> list[Finding]:
    name = plan.instance_profile
    if not name:
        return []
    try:
        roles = account.profile_roles(name)
    except NotFoundError:
        sentence = f"There is no instance profile {name}."
        return [Finding(STOP, "instance profile", sentence, "--instance-profile with a name that IAM's console shows")]
    if roles is None:
        return [Finding(WARNING, "instance profile", f"These credentials may not look at the profile {name}.")]
    if not roles:
        return [Finding(STOP, "instance profile", f"The instance profile {name} has no role.", "--instance-profile …")]
    allowed = account.simulate(roles[0], plan.tier_actions)
    if allowed is None:
        sentence = f"{name} has the role {roles[0]}; what it may do could not be asked."
        return [Finding(WARNING, "instance profile", sentence)]
    denied = [action for action in plan.tier_actions if not allowed.get(action, True)]
    if denied:
        sentence = f"The role of {name} may not: {', '.join(denied)}."
        return [Finding(STOP, "instance profile", sentence, "--instance-profile with a role that may")]
    return [Finding(OK, "instance profile", f"The role of {name} may do what the program does.")]


def _types(account: Account, plan: Plan) -> list[Finding]:
    found = []
    if not account.zones_with(plan.machine_type):
        sentence = f"This region does not offer {plan.machine_type}."
        found.append(Finding(STOP, "instance type", sentence, "--parameter MachineInstanceType=…"))
    offered = [name for name in plan.worker_types if account.zones_with(name)]
    if not offered:
        sentence = f"This region offers none of {', '.join(plan.worker_types)}."
        found.append(Finding(STOP, "workers' types", sentence, "--parameter InstanceTypes=…"))
    elif missing := [name for name in plan.worker_types if name not in offered]:
        sentence = f"This region does not offer {', '.join(missing)}; the others are used."
        found.append(Finding(WARNING, "workers' types", sentence, f"--parameter InstanceTypes={','.join(offered)}"))
    return found or [Finding(OK, "instance types", "This region offers the types of the instance and of workers.")]


def _vcpus(account: Account, plan: Plan) -> list[Finding]:
    quota = account.quota(ON_DEMAND_VCPUS)
    if quota is None:
        sentence = "The quota of vCPUs could not be read; a class account often allows 32 or fewer."
        return [Finding(WARNING, "vCPUs", sentence, "--parameter MaxWorkers=… below it")]
    each = max(account.vcpus(name) for name in plan.worker_types)
    machine, used = account.vcpus(plan.machine_type), account.used_vcpus()
    free = int(quota) - used
    workers = (free - machine) // each
    sentence = f"{used} of {quota:g} vCPUs are used; a worker takes {each}, the instance {machine}"
    if workers < 1 or free < machine + account.vcpus(BUILDER_TYPE):
        setting = "a higher quota: Service Quotas, EC2, Running On-Demand Standard instances"
        return [Finding(STOP, "vCPUs", f"{sentence}: that is too few.", setting)]
    if workers < plan.max_workers:
        setting = f"--parameter MaxWorkers={workers}"
        return [Finding(WARNING, "vCPUs", f"{sentence}: {workers} workers at most.", setting)]
    return [Finding(OK, "vCPUs", f"{sentence}: enough for {plan.max_workers} workers.")]


def _addresses(account: Account) -> list[Finding]:
    quota, used = account.quota(ELASTIC_ADDRESSES), account.used_addresses()
    limit = DEFAULT_ADDRESSES if quota is None else int(quota)
    sentence = f"{used} of {limit}{' (the usual quota)' if quota is None else ''} elastic addresses are used."
    if used < limit:
        return [Finding(OK, "address", sentence)]
    setting = "release one: `aws ec2 release-address`, or a higher quota: Service Quotas, EC2-VPC Elastic IPs"
    return [Finding(WARNING if quota is None else STOP, "address", sentence, setting)]


def _trials(account: Account, plan: Plan, network: _Network) -> list[Finding]:
    """Requests to EC2 that it only checks."""
    if not network.subnet_id:
        return []
    if not plan.base_image_id:
        return [Finding(WARNING, "launches", "No launch was tried: Debian's image was not found.")]
    image, subnet, profile = plan.base_image_id, network.subnet_id, plan.instance_profile
    worker_image = plan.worker_base_image_id
    found = []
    if not worker_image:
        found.append(Finding(WARNING, "launches", "No launch of a worker was tried: Debian's image was not found."))
    verdicts = {
        "an elastic address": (account.may_allocate_address(), ""),
        "a security group": (account.may_create_security_group(network.vpc_id), ""),
        "a launch template": (account.may_create_launch_template(image), ""),
        f"an instance of type {plan.machine_type}": (
            account.may_launch(plan.machine_type, image, subnet, profile),
            "--parameter MachineInstanceType=… with a type that is allowed",
        ),
        **{
            f"a worker of type {name}": (
                account.may_launch(name, worker_image, subnet, profile),
                "--parameter InstanceTypes=… with types that are allowed",
            )
            for name in plan.worker_types
            if worker_image
        },
    }
    for what, (verdict, setting) in verdicts.items():
        if verdict.allowed:
            found.append(Finding(OK, "trial", f"EC2 would allow {what}."))
        elif verdict.allowed is None:
            found.append(
                Finding(WARNING, "trial", f"EC2 does not say whether it would allow {what}: {verdict.reason}.")
            )
        else:
            found.append(Finding(STOP, "trial", f"EC2 would refuse {what}: {verdict.reason}.", setting))
    return found
