"""The template's roles against what the code asks of AWS: nothing is missing, nothing is superfluous."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from core import object_keys
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
    "worker": {
        Need("s3:ListBucket", "InputBucket"),
    },
}
# The stack has no response queue: it is a mode for graders of courses, who bring their own queues.
OUTSIDE_THE_STACK = {"ResponseQueue"}
# Actions that IAM can restrict to no resource; all others on "*" need a condition or a narrower ARN.
UNRESTRICTABLE = {"ec2:DescribeInstances"}


# The objects of each bucket, by the names of their families in `core.object_keys`, and those that have a key alone.
_BATCH = "20260102-030405-0123456789ab"
_ROLE_ID, _OWN, _OTHER = "AROAEXAMPLEEXAMPLE123", "i-0123456789abcdef0", "i-0fedcba9876543210"
KEYS = {
    "InputBucket": {
        "IMAGES": f"{_BATCH}/00000-cat.jpg",
        "DROPPED": "drop/cats/a b.jpg",
        "BATCH_RECORDS": f"batches/{_BATCH}.json",
        "OWNED_BATCHES": f"owners/ada/{'0' * 14}-{_BATCH}",
        "DELETED_BATCHES": f"deleted/{_BATCH}",
        "LONG_NAMES": f"names/{_BATCH}/{'0' * 64}",
    },
    "OutputBucket": {
        "IMAGES": f"{_BATCH}/00000-cat.jpg",
        "DROPPED": "drop/cats/a b.jpg",
        "CANCELLED_MARKS": f"{_BATCH}/cancelled",
        "RESULT_TABLES": f"{_BATCH}/results.csv",
        "RESULT_PACKS": f"{_BATCH}/00019_{'0' * 16}.jsonl",
        "part of a bulk run": "bulk/photos/_parts/part-00000000.json",
    },
    "StateBucket": {
        "HEARTBEATS": f"workers/{_ROLE_ID}:{_OWN}.json",
        "another worker's": f"workers/{_ROLE_ID}:{_OTHER}.json",
        "without a role": f"workers/{_OWN}.json",
        "TOKENS": f"tokens/{'0' * 16}.json",
        "USAGE": f"usage/{'0' * 16}.json",
        "PENDING_WEBHOOKS": f"webhooks/{_BATCH}.json",
        "MODEL_FILES": f"models/files/{'0' * 64}",
        "MODEL_VERSIONS": "models/versions/resnet50/1.json",
        "shadow": "models/shadow.json",
        "status": "controller/status.json",
        "BULK_RUNS": f"controller/bulk/runs/{_BATCH}.json",
        "ACTIVE_BULK_RUNS": f"controller/bulk/active/{_BATCH}",
        "BULK_REQUESTS": f"web/bulk/{_BATCH}.json",
        "lease": "controller/lease.json",
        "session key": "web/session-key",
        "program": f"program/{'0' * 64}.tar.gz",
    },
}


def _every(bucket: str) -> dict[str, set[str]]:
    return {verb: set(KEYS[bucket]) for verb in ("Get", "Put", "Delete")}


_HEARTBEATS = {"HEARTBEATS", "another worker's", "without a role"}
_BULK = {"BULK_RUNS", "ACTIVE_BULK_RUNS"}
_ASKED = {"BULK_REQUESTS"}
# Which of them each tier may get, put and delete.  Images, results and what belongs to them are handled as one.
ACCESS = {
    "worker": {
        "InputBucket": {"Get": {"IMAGES", "DROPPED"}},
        # The mark and the table lie among the results; no family of keys separates them.
        "OutputBucket": {"Get": {"part of a bulk run"}, "Put": set(KEYS["OutputBucket"])},
        "StateBucket": {"Get": {"MODEL_FILES", "MODEL_VERSIONS", "shadow", "status"}, "Put": {"HEARTBEATS"}},
    },
    "web": {
        "InputBucket": _every("InputBucket"),
        "OutputBucket": _every("OutputBucket"),
        "StateBucket": {
            "Get": {
                *_HEARTBEATS,
                "TOKENS",
                "USAGE",
                "status",
                "lease",
                *_BULK,
                "BULK_REQUESTS",
                "session key",
                "program",
            },
            "Put": {"USAGE", "session key", "PENDING_WEBHOOKS", "BULK_REQUESTS"},
            "Delete": {"PENDING_WEBHOOKS"},
        },
    },
    "controller": {
        "InputBucket": _every("InputBucket"),
        "OutputBucket": _every("OutputBucket"),
        "StateBucket": {
            "Get": {*_HEARTBEATS, "status", "lease", *_BULK, "BULK_REQUESTS", "PENDING_WEBHOOKS", "shadow", "program"},
            "Put": {*_HEARTBEATS, "status", "lease", *_BULK, "BULK_REQUESTS", "PENDING_WEBHOOKS"},
            "Delete": {*_HEARTBEATS, "status", "lease", *_BULK, "BULK_REQUESTS", "PENDING_WEBHOOKS"},
        },
    },
}


# The ARN of each of the parameter's buckets, followed by /*: a list, since it is split.
BULK_OBJECTS = {
    "Fn::Split": [
        ",",
        {"Fn::Sub": ["${Objects}/*", {"Objects": {"Fn::Join": ["/*,", {"Ref": "BulkBuckets"}]}}]},
    ]
}


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
    if resource == {"Ref": "BulkBuckets"} or resource == BULK_OBJECTS:
        return "BulkBuckets"
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
    needs = {need for need in program.needs(tier) if need.resource not in OUTSIDE_THE_STACK}
    assert granted(template, ROLES[tier]) == needs | BESIDE_THE_CODE[tier]


def patterns(template: dict[str, Any], role: str) -> list[tuple[str, str, str]]:
    """What a role allows on objects: the action, the bucket, and the pattern of the keys."""
    found = []
    for statement in statements(template, role):
        for resource in as_list(statement["Resource"]):
            text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else ""
            parts = re.fullmatch(r"\$\{(\w+Bucket)\.Arn\}/(.*)", text)
            if parts:
                pattern = parts[2].replace("${!aws:userid}", f"{_ROLE_ID}:{_OWN}")
                found += [(action, parts[1], pattern) for action in as_list(statement["Action"])]
    return found


@pytest.mark.parametrize("tier", ACCESS)
def test_each_kind_of_object_may_be_read_and_written_by_the_tiers_that_do(template: dict[str, Any], tier: str) -> None:
    allowed = patterns(template, ROLES[tier])
    for bucket, keys in KEYS.items():
        for kind, key in keys.items():
            for verb in ("Get", "Put", "Delete"):
                expected = kind in ACCESS[tier][bucket].get(verb, set())
                action = f"s3:{verb}Object"
                found = any(rule[:2] == (action, bucket) and fnmatchcase(key, rule[2]) for rule in allowed)
                assert found is expected, f"{tier}: {action} of {kind} in {bucket}"


@pytest.mark.parametrize("tier", ACCESS)
def test_each_statement_allows_what_the_tier_does(template: dict[str, Any], tier: str) -> None:
    for action, bucket, pattern in patterns(template, ROLES[tier]):
        kinds = ACCESS[tier][bucket].get(action.removeprefix("s3:").removesuffix("Object"), set())
        assert any(fnmatchcase(KEYS[bucket][kind], pattern) for kind in kinds), f"{tier}: {action} {bucket}/{pattern}"


def test_every_family_of_keys_has_been_decided_on() -> None:
    kinds = object_keys.KeyFamily, object_keys.OpenKeys
    named = {name for name in vars(object_keys) if isinstance(getattr(object_keys, name), kinds)}
    assert {kind for keys in KEYS.values() for kind in keys if kind.isupper()} == named
    for keys in KEYS.values():
        for kind in named & keys.keys():
            assert getattr(object_keys, kind).owns(keys[kind])
    assert object_keys.HEARTBEATS.owns(KEYS["StateBucket"]["another worker's"])


@pytest.mark.slow
@pytest.mark.parametrize("tier", ENTRIES)
def test_the_keys_that_the_code_names_are_among_those_of_its_tier(program: Program, tier: str) -> None:
    found = program.keys(tier)
    assert tier == "worker" or found
    for need, family in found:
        verb = need.action.removeprefix("s3:").removesuffix("Object")
        assert family in ACCESS[tier][need.resource].get(verb, set()), f"{need.action} of {family}"


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
    answers = {"${OutputBucket.Arn}/2*", "${OutputBucket.Arn}/drop/*", "${OutputBucket.Arn}/bulk/*"}
    assert writable == {*answers, "${StateBucket.Arn}/workers/${!aws:userid}.json"}


def test_a_fleet_is_ordered_from_the_workers_template_only(template: dict[str, Any]) -> None:
    for sid in ("OrderFleet", "LaunchFromTemplate"):
        (statement,) = [found for found in statements(template, "ControllerRole") if found["Sid"] == sid]
        resources = [resource["Fn::Sub"] for resource in as_list(statement["Resource"])]
        others = [text for text in resources if re.search(r":(\*/\*|launch-template/)", text)]
        if sid == "OrderFleet":
            assert [text.rpartition(":")[2] for text in others] == ["launch-template/${WorkerTemplate}"]
        else:
            assert statement["Condition"]["ArnEquals"]["ec2:LaunchTemplate"]["Fn::Sub"].endswith("/${WorkerTemplate}")


def test_through_the_endpoint_of_s3_only_the_stacks_buckets_are_reached(template: dict[str, Any]) -> None:
    policy = template["Resources"]["S3Endpoint"]["Properties"]["PolicyDocument"]
    ours, bulk, _log_agent = policy["Statement"]
    reached = {logical_id(resource) for resource in as_list(ours["Resource"])}
    condition, of_bulk_runs, nothing = bulk["Fn::If"]
    assert (condition, nothing) == ("HasBulkBuckets", {"Ref": "AWS::NoValue"})
    assert of_bulk_runs["Action"] == ours["Action"]
    assert reached == {"InputBucket", "OutputBucket", "StateBucket"}
    needed = {
        action
        for role in ROLES.values()
        for statement in statements(template, role)
        for action in as_list(statement["Action"])
        if action.startswith("s3:")
    }
    assert set(policy["Statement"][0]["Action"]) == needed


def test_the_controller_terminates_and_names_only_instances_of_its_fleet(template: dict[str, Any]) -> None:
    for statement in statements(template, "ControllerRole"):
        if statement["Sid"] in ("TerminateOurs", "NameOurs"):
            assert statement["Condition"]["StringEquals"] == {
                "aws:ResourceTag/elastic:fleet": {"Ref": "AWS::StackName"}
            }


def resolved(value: Any, buckets: list[str]) -> Any:
    """What CloudFormation makes of the functions with which the template uses the parameter `BulkBuckets`."""
    if value == {"Ref": "BulkBuckets"}:
        return buckets
    if not isinstance(value, dict):
        return value
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        return argument[0].join(resolved(argument[1], buckets))
    if function == "Fn::Split":
        return resolved(argument[1], buckets).split(argument[0])
    assert function == "Fn::Sub"
    text, variables = argument
    for name, variable in variables.items():
        text = text.replace(f"${{{name}}}", resolved(variable, buckets))
    return text


def test_bulk_buckets_are_read_and_listed_and_nothing_else(template: dict[str, Any]) -> None:
    buckets = ["arn:aws:s3:::photos", "arn:aws:s3:::more.photos"]
    objects = ["arn:aws:s3:::photos/*", "arn:aws:s3:::more.photos/*"]
    found = {
        (role, action, tuple(resolved(resource, buckets)))
        for role in ROLES.values()
        for statement in statements(template, role)
        for resource in as_list(statement["Resource"])
        if logical_id(resource) == "BulkBuckets"
        for action in as_list(statement["Action"])
    }
    assert found == {
        ("WorkerRole", "s3:GetObject", tuple(objects)),
        ("ControllerRole", "s3:ListBucket", tuple(buckets)),
    }
    endpoint = template["Resources"]["S3Endpoint"]["Properties"]["PolicyDocument"]["Statement"][1]["Fn::If"][1]
    assert resolved(endpoint["Resource"], buckets) == [*buckets, *objects]


def test_without_bulk_buckets_no_statement_is_about_them(template: dict[str, Any]) -> None:
    for role in ROLES.values():
        (policy,) = template["Resources"][role]["Properties"]["Policies"]
        for entry in policy["PolicyDocument"]["Statement"]:
            if "BulkBuckets" in str(entry):
                assert (entry["Fn::If"][0], entry["Fn::If"][2]) == ("HasBulkBuckets", {"Ref": "AWS::NoValue"})


@pytest.mark.parametrize(
    ("value", "is_allowed"),
    [("", True), ("arn:aws:s3:::photos", True), ("arn:aws-cn:s3:::my.photos-1", True), ("photos", False),
     ("arn:aws:s3:::photos/*", False), ("arn:aws:s3:::*", False), ("*", False), ("arn:aws:sqs:::photos", False)],
)  # fmt: skip
def test_a_bulk_bucket_is_the_arn_of_one_bucket(template: dict[str, Any], value: str, is_allowed: bool) -> None:
    pattern = template["Parameters"]["BulkBuckets"]["AllowedPattern"]
    assert (re.fullmatch(pattern, value) is not None) is is_allowed
