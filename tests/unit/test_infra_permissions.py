"""The template's roles against what the code asks of AWS: nothing is missing, nothing is superfluous."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.iam import ENTRIES, RESOURCES, SETTINGS, Need, Program
from tests.stack.emulated import original

ROLES = {"web": "WebRole", "controller": "ControllerRole", "worker": "WorkerRole"}

# What no method of a client says.
_INSTALLATION = {
    # The instance's user data fetches the program.
    Need("s3:GetObject", "StateBucket"),
}
BESIDE_THE_CODE = {
    "web": {
        *_INSTALLATION,
        # CloudWatch's agent sends the log file.
        *(Need(f"logs:{action}", "WebLogs") for action in ("CreateLogStream", "DescribeLogStreams", "PutLogEvents")),
    },
    "controller": {
        *_INSTALLATION,
        *(
            Need(f"logs:{action}", "ControllerLogs")
            for action in ("CreateLogStream", "DescribeLogStreams", "PutLogEvents")
        ),
        # EC2 asks for it when an account's first spot request comes.
        Need("iam:CreateServiceLinkedRole", "*"),
    },
    # Without it S3 answers 403 for a deleted image, which the worker could not distinguish from a refused request.
    "worker": {Need("s3:ListBucket", "InputBucket")},
}
# Actions that IAM can restrict to no resource; all others on "*" need a condition or a narrower ARN.
UNRESTRICTABLE = {"ec2:DescribeInstances"}


@pytest.fixture(scope="module")
def program() -> Program:
    return Program()


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return original()


def statements(template: dict[str, Any], role: str) -> list[dict[str, Any]]:
    (policy,) = template["Resources"][role]["Properties"]["Policies"]
    return [entry["Fn::If"][1] if "Fn::If" in entry else entry for entry in policy["PolicyDocument"]["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def logical_id(resource: Any) -> str:
    """The bucket, queue or log group that an ARN in the template is of; ``*`` for instances, roles and everything."""
    if isinstance(resource, dict):
        attribute = resource.get("Fn::GetAtt")
        text = ".".join(attribute) if attribute else resource["Fn::Sub"]
        found = re.match(r"(?:\$\{)?(\w+)\.Arn", text)
        if found and not found.group(1).endswith("Role"):
            return found.group(1)
    return "*"


def granted(template: dict[str, Any], role: str) -> set[Need]:
    return {
        Need(action, logical_id(resource))
        for statement in statements(template, role)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


@pytest.mark.slow
@pytest.mark.parametrize("tier", ROLES)
def test_a_role_may_do_what_its_tier_does_and_nothing_else(
    program: Program, template: dict[str, Any], tier: str
) -> None:
    assert granted(template, ROLES[tier]) == program.needs(tier) | BESIDE_THE_CODE[tier]


@pytest.mark.slow
@pytest.mark.parametrize("tier", ENTRIES)
def test_each_store_works_on_the_resource_that_the_comparison_takes_for_its(program: Program, tier: str) -> None:
    made = set(program.constructions(tier))
    assert made
    for owner, setting in made:
        expected = {SETTINGS.get(RESOURCES[owner], setting)}
        if owner == "aws.queue.JobQueue" and tier == "controller":
            expected.add("dead_letter_queue_name")  # what `DeadLetters._dead` works on
        assert setting in expected


def test_the_analysis_follows_protocols_and_paginators(program: Program) -> None:
    needs = program.needs("controller")
    # The lease is written through the protocol `aws.lease.Store`; instances are listed by a paginator.
    assert Need("s3:PutObject", "StateBucket") in needs
    assert Need("ec2:DescribeInstances", "*") in needs


@pytest.mark.parametrize("role", ROLES.values())
def test_no_statement_is_wider_than_it_must_be(template: dict[str, Any], role: str) -> None:
    for statement in statements(template, role):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action, f"{role}: {action}"
            if "*" in as_list(statement["Resource"]) and action not in UNRESTRICTABLE:
                assert statement.get("Condition"), f"{role} may {action} on everything"


def test_workers_write_only_answers_and_heartbeats(template: dict[str, Any]) -> None:
    writable = {
        resource["Fn::Sub"]
        for statement in statements(template, "WorkerRole")
        if "s3:PutObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    assert writable == {"${OutputBucket.Arn}/2*", "${StateBucket.Arn}/workers/*"}


def test_the_controller_terminates_and_names_only_instances_of_its_fleet(template: dict[str, Any]) -> None:
    for statement in statements(template, "ControllerRole"):
        if statement["Sid"] in ("TerminateOurs", "NameOurs"):
            assert statement["Condition"]["StringEquals"] == {
                "aws:ResourceTag/elastic:fleet": {"Ref": "AWS::StackName"}
            }
