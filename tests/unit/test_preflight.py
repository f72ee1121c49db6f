"""What `elastic doctor --aws` finds in accounts of all kinds, and the request that it makes of AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from aws.account import ELASTIC_ADDRESSES, ON_DEMAND_VCPUS, Account, Identity, Subnet, Verdict, subnets_offering
from aws.clients import Clients
from cli import doctor as doctor_module
from cli.doctor import doctor
from core.errors import ArgumentError, CloudError, NotFoundError
from infra.deployer_actions import ACTIONS, ROLE_ACTIONS
from infra.preflight import OK, STOP, WARNING, Plan, examine

OWN = Identity("123456789012", "arn:aws:iam::123456789012:user/ada")
ROLE = "arn:aws:iam::123456789012:role/LabRole"
PLAN = Plan(
    "t3.micro", ("c6i.large", "c7i.large"), 15, "", (), "", "ami-1", "ami-2", ("s3:GetObject", "sqs:SendMessage")
)
IN_CLASS = replace(PLAN, instance_profile="LabInstanceProfile")


@dataclass
class FakeAccount:
    """An account in which everything is allowed, unless the fields say otherwise."""

    vpc: str | None = "vpc-1"
    free: tuple[int, ...] = (4000, 4000)
    not_offered: tuple[str, ...] = ()
    quotas: Mapping[str, float | None] = field(default_factory=lambda: {ON_DEMAND_VCPUS: 64.0, ELASTIC_ADDRESSES: 5.0})
    vcpus_in_use: int = 0
    addresses: int = 0
    roles: list[str] | CloudError | None = field(default_factory=lambda: [ROLE])
    denied: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    def identity(self) -> Identity:
        return OWN

    def default_vpc(self) -> str | None:
        return self.vpc

    def subnets(self, vpc_id: str) -> list[Subnet]:
        return [Subnet(f"subnet-{number}", f"zone-{number}", free) for number, free in enumerate(self.free)]

    def zones_with(self, instance_type: str) -> set[str]:
        return set() if instance_type in self.not_offered else {"zone-1"}

    def vcpus(self, instance_type: str) -> int:
        return 2

    def used_vcpus(self) -> int:
        return self.vcpus_in_use

    def used_addresses(self) -> int:
        return self.addresses

    def quota(self, code: str) -> float | None:
        return self.quotas[code]

    def profile_roles(self, name: str) -> list[str] | None:
        if isinstance(self.roles, CloudError):
            raise self.roles
        return self.roles

    def simulate(self, source_arn: str, actions: Sequence[str]) -> dict[str, bool] | None:
        if self.denied is None:
            return None
        return {action: action not in self.denied.get(source_arn, ()) for action in actions}

    def may_launch(self, instance_type: str, image_id: str, subnet_id: str, profile: str) -> Verdict:
        assert subnet_id == "subnet-1", "the zone that offers the instance's type"
        return self._verdict(instance_type)

    def may_allocate_address(self) -> Verdict:
        return self._verdict("address")

    def may_create_security_group(self, vpc_id: str) -> Verdict:
        return self._verdict("group")

    def may_create_launch_template(self, image_id: str) -> Verdict:
        return self._verdict("template")

    def _verdict(self, what: str) -> Verdict:
        if what in self.silent:
            return Verdict(None, "InvalidParameterValue: odd")
        return Verdict(what not in self.refused, "UnauthorizedOperation: no" if what in self.refused else "")


def test_an_empty_account_of_an_administrator_has_nothing_to_complain_of() -> None:
    assert {finding.level for finding in examine(FakeAccount(), PLAN)} == {OK}


@pytest.mark.parametrize(
    ("account", "plan", "level", "sentence", "setting"),
    [
        (
            FakeAccount(denied={OWN.arn: ROLE_ACTIONS}),
            PLAN,
            STOP,
            "may make no IAM roles: iam:CreateRole",
            "--instance-profile NAME",
        ),
        (FakeAccount(denied={OWN.arn: ROLE_ACTIONS}), IN_CLASS, OK, "IAM allows the", ""),
        (
            FakeAccount(denied={OWN.arn: ("ec2:CreateImage",)}),
            IN_CLASS,
            STOP,
            "may not: ec2:CreateImage",
            "administrator",
        ),
        (
            FakeAccount(denied={ROLE: ("sqs:SendMessage",)}),
            IN_CLASS,
            STOP,
            "role of LabInstanceProfile may not: sqs:SendMessage",
            "--instance-profile",
        ),
        (FakeAccount(denied=None), PLAN, WARNING, "does not let these credentials ask", "--instance-profile"),
        (FakeAccount(denied=None), IN_CLASS, WARNING, f"has the role {ROLE}", ""),
        (
            FakeAccount(roles=NotFoundError("no")),
            IN_CLASS,
            STOP,
            "There is no instance profile LabInstanceProfile",
            "--instance-profile",
        ),
        (FakeAccount(roles=None), IN_CLASS, WARNING, "may not look at the profile", ""),
        (FakeAccount(roles=[]), IN_CLASS, STOP, "has no role", "--instance-profile"),
        (FakeAccount(roles=CloudError("IAM is away")), IN_CLASS, WARNING, "could not be looked at: IAM is away", ""),
        (FakeAccount(vpc=None), PLAN, STOP, "no default VPC", "--parameter VpcId="),
        (FakeAccount(free=()), PLAN, STOP, "vpc-1 has no subnets", "SubnetIds"),
        (FakeAccount(free=(0, 3)), PLAN, WARNING, "2 subnets with 3 free addresses", "SubnetIds"),
        (
            FakeAccount(not_offered=("t3.micro",)),
            replace(PLAN, subnet_ids=("subnet-1",)),
            STOP,
            "does not offer t3.micro",
            "MachineInstanceType",
        ),
        (FakeAccount(not_offered=("c7i.large",)), PLAN, WARNING, "does not offer c7i.large", "InstanceTypes=c6i.large"),
        (
            FakeAccount(not_offered=("c6i.large", "c7i.large")),
            PLAN,
            STOP,
            "offers none of c6i.large, c7i.large",
            "InstanceTypes",
        ),
        (
            FakeAccount(quotas={ON_DEMAND_VCPUS: 16.0, ELASTIC_ADDRESSES: 5.0}, vcpus_in_use=4),
            PLAN,
            WARNING,
            "4 of 16 vCPUs are used; a worker takes 2, the instance 2: 5 workers at most",
            "MaxWorkers=5",
        ),
        (
            FakeAccount(quotas={ON_DEMAND_VCPUS: 5.0, ELASTIC_ADDRESSES: 5.0}, vcpus_in_use=2),
            PLAN,
            STOP,
            "too few",
            "Service Quotas",
        ),
        (
            FakeAccount(quotas={ON_DEMAND_VCPUS: None, ELASTIC_ADDRESSES: None}),
            PLAN,
            WARNING,
            "quota of vCPUs could not be read",
            "MaxWorkers",
        ),
        (FakeAccount(addresses=5), PLAN, STOP, "5 of 5 elastic addresses", "release"),
        (
            FakeAccount(quotas={ON_DEMAND_VCPUS: 64.0, ELASTIC_ADDRESSES: None}, addresses=5),
            PLAN,
            WARNING,
            "5 of 5 (the usual quota)",
            "release",
        ),
        (
            FakeAccount(refused=("c6i.large",)),
            PLAN,
            STOP,
            "would refuse a worker of type c6i.large: UnauthorizedOperation",
            "InstanceTypes",
        ),
        (
            FakeAccount(refused=("t3.micro",)),
            PLAN,
            STOP,
            "would refuse an instance of type t3.micro",
            "MachineInstanceType",
        ),
        (
            FakeAccount(silent=("address",)),
            PLAN,
            WARNING,
            "does not say whether it would allow an elastic address: InvalidParameterValue",
            "",
        ),
        (FakeAccount(), replace(PLAN, base_image_id=""), WARNING, "No launch was tried", ""),
    ],
)
def test_what_does_not_work_is_a_sentence_with_its_setting(
    account: FakeAccount, plan: Plan, level: str, sentence: str, setting: str
) -> None:
    found = [finding for finding in examine(account, plan) if sentence in finding.sentence]
    assert [(finding.level, setting in finding.setting) for finding in found] == [(level, True)]


@pytest.mark.parametrize(("account", "status"), [(FakeAccount(), 0), (FakeAccount(vpc=None), 1)])
def test_the_exit_status_says_whether_something_stops_the_deployment(
    account: FakeAccount, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "use_aws", lambda: None)
    monkeypatch.setattr(doctor_module, "Clients", lambda: None)
    monkeypatch.setattr(doctor_module, "Account", lambda clients: account)
    monkeypatch.setattr(doctor_module, "plan_of", lambda clients, given: PLAN)
    printed = CliRunner().invoke(doctor, ["--aws", "--json"])
    assert printed.exit_code == status
    levels = [finding["level"] for finding in json.loads(printed.stdout)]
    assert (STOP in levels) is bool(status)
    text = CliRunner().invoke(doctor, ["--aws"])
    assert text.exit_code == status and ("Nothing stops" in text.stdout) is not bool(status)
    assert isinstance(CliRunner().invoke(doctor, []).exception, ArgumentError)


@pytest.mark.parametrize(
    ("arn", "source"),
    [
        (OWN.arn, OWN.arn),
        ("arn:aws:sts::123456789012:assumed-role/voclabs/user1=ada", "arn:aws:iam::123456789012:role/voclabs"),
    ],
)
def test_iams_simulator_takes_a_sessions_role(arn: str, source: str) -> None:
    assert Identity("123456789012", arn).policy_source == source


def test_subnets_in_zones_without_the_type_are_left_out_unless_none_is_left() -> None:
    subnets = [Subnet("a", "zone-a", 1), Subnet("b", "zone-b", 1)]
    assert subnets_offering(subnets, {"zone-b"}) == subnets[1:]
    assert subnets_offering(subnets, set()) == subnets


class AnsweringClients:
    """Clients whose every method answers, or raises, as its name says."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def __getitem__(self, service: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        answer = self._answers[name]

        def method(**arguments: Any) -> Any:
            if isinstance(answer, str):
                raise ClientError({"Error": {"Code": answer, "Message": "because"}}, name)
            return answer

        return method


def account_with(**answers: Any) -> Account:
    clients: Any = AnsweringClients(**answers)
    found: Clients = clients
    return Account(found)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("DryRunOperation", Verdict(True)),
        ("UnauthorizedOperation", Verdict(False, "UnauthorizedOperation: because")),
        ("InvalidParameterValue", Verdict(None, "InvalidParameterValue: because")),
        ({"Instances": []}, Verdict(None, "EC2 ignored that the request was a trial")),
    ],
)
def test_a_trial_has_three_results(answer: object, verdict: Verdict) -> None:
    assert account_with(run_instances=answer).may_launch("t3.micro", "ami-1", "subnet-1", "profile") == verdict


def test_what_may_not_be_read_is_unknown() -> None:
    account = account_with(get_service_quota="AccessDeniedException", get_instance_profile="AccessDenied")
    assert account.quota(ON_DEMAND_VCPUS) is None and account.profile_roles("p") is None
    with pytest.raises(NotFoundError):
        account_with(get_instance_profile="NoSuchEntity").profile_roles("p")


def test_the_actions_are_written_as_iam_writes_them_and_named_once() -> None:
    every = [*ACTIONS, *ROLE_ACTIONS]
    assert len(set(every)) == len(every)
    assert all(action.partition(":")[2][:1].isupper() for action in every)
