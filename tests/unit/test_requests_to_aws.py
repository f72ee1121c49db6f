"""Every request that the program can make of AWS exists in botocore's models, with its parameters and error codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from aws import clients, ec2_fleet_launch
from aws.account import ACCESS_DENIED
from aws.ec2_fleet_launch import LaunchRequest
from core.errors import CloudError, NotFoundError
from core.paths import REPOSITORY_ROOT
from core.releases import Release
from tests.requests_to_aws import PACKAGE, SERVICES, SentRequest, model_of, requests_in_code, unlisted

REQUESTS = requests_in_code()
# Codes that the code compares with, and the service that the model lists them for.
MODELLED_CODES = {"InvalidInstanceId": "ssm", "InvocationDoesNotExist": "ssm"}
_NOT_FOUND_NAME = re.compile(r"NotFound|NoSuch|DoesNotExist|NonExistent")


def test_every_request_in_the_code_is_one_of_the_service() -> None:
    assert len(REQUESTS) > 60
    assert {f"{request.where}: {problem}" for request in REQUESTS for problem in request.problems} == set()


def test_the_services_are_those_whose_clients_the_program_makes() -> None:
    made = set()
    for folder in ("aws", "ami", "app_tier", "cli", "controller", "infra", "web_tier"):
        for path in (REPOSITORY_ROOT / folder).rglob("*.py"):
            made |= set(
                re.findall(
                    r"""clients(?:\(\))?\["([a-z0-9-]+)"\]|Clients\(\)\["([a-z0-9-]+)"\]""", path.read_text("utf-8")
                )
            )
    assert {one or other for one, other in made} == set(SERVICES)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("client.get_object(Bucket=b, Kay=k)", "there is no parameter Kay"),
        ("client.get_object(Bucket=b)", "Key is required"),
        ("client.describe_instances(Filters=[{'Name': n, 'Value': v}])", "Filters has no Value"),
        ("client.create_fleet(Type='instantly', **rest)", "Type cannot be instantly"),
        ("client.get_paginator('send_command').paginate()", "it has no paginator"),
        ("client.generate_presigned_url('get_object', Params={'Bucket': b, 'Name': k})", "there is no parameter Name"),
    ],
)
def test_a_request_that_the_service_does_not_have_is_found(tmp_path: Path, source: str, problem: str) -> None:
    package = tmp_path / "aws"
    package.mkdir()
    (package / "wrong.py").write_text(f"def call(client, **rest):\n    {source}\n")
    [request] = requests_in_code(package)
    assert problem in request.problems


def test_a_recorded_request_that_the_list_lacks_is_found() -> None:
    known = SentRequest("s3", "GetObject", frozenset({"Bucket", "Key"}))
    strange = {
        SentRequest("s3", "GetObject", frozenset({"Bucket", "Range"})),
        SentRequest("s3", "CopyObject", frozenset()),
    }
    assert unlisted({known}, REQUESTS) == []
    assert unlisted({known, *strange}, REQUESTS) == ["s3:CopyObject()", "s3:GetObject(Bucket, Range)"]


@pytest.mark.parametrize("spot", [False, True])
@pytest.mark.parametrize(
    "request_",
    [
        LaunchRequest("workers", (), (), {}),
        LaunchRequest("workers", ("c6i.large",), ("subnet-1",), {"elastic:fleet": "f"}),
    ],
    ids=["by the template", "with types and subnets"],
)
def test_the_launch_request_is_valid(request_: LaunchRequest, spot: bool) -> None:
    shape = model_of("ec2").operation_model("CreateFleet").input_shape
    for release in (Release(), Release(2, "ami-2", "m@2")):
        parameters = request_.parameters(3, "token", release, spot=spot)
        assert ParamValidator().validate(parameters, shape).generate_report() == ""


def test_no_waiter_is_used() -> None:
    """The program polls by itself, with its own timeouts; a waiter would have to be checked here, too."""
    assert [path.name for path in PACKAGE.rglob("*.py") if "get_waiter" in path.read_text("utf-8")] == []


def modelled_codes(service: str) -> dict[str, str]:
    """The error codes of a service's model, with the shape of each."""
    return {
        str(shape.metadata.get("error", {}).get("code", name)): name
        for name in model_of(service).shape_names
        if (shape := model_of(service).shape_for(name)).metadata.get("exception")
    }


def codes_in_code() -> Iterator[str]:
    """The codes that modules of `aws/` compare with by `is_code`, other than by a constant's name."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "is_code":
                yield from (str(argument.value) for argument in node.args[1:] if isinstance(argument, ast.Constant))


def test_the_codes_that_the_code_compares_with_are_in_the_models() -> None:
    assert set(codes_in_code()) == MODELLED_CODES.keys()
    for code, service in MODELLED_CODES.items():
        assert code in modelled_codes(service)


NOT_FOUND_CODES = {
    code
    for service in SERVICES
    for code, name in modelled_codes(service).items()
    if _NOT_FOUND_NAME.search(f"{code} {name}")
}


def test_what_a_service_does_not_find_is_a_not_found_error() -> None:
    """Also by codes that no test has met: the models list them, except for EC2's and Auto Scaling's."""
    assert len(NOT_FOUND_CODES) > 15
    for code in NOT_FOUND_CODES:
        with pytest.raises(NotFoundError), clients.cloud_errors("looking"):
            raise ClientError({"Error": {"Code": code, "Message": "m"}}, "operation")


@pytest.mark.parametrize("code", ["AccessDenied", "ValidationError", "Throttling", "SlowDown", *ACCESS_DENIED])
def test_other_errors_are_not_taken_for_a_missing_object(code: str) -> None:
    with pytest.raises(CloudError) as raised, clients.cloud_errors("looking"):
        raise ClientError({"Error": {"Code": code, "Message": "Rate exceeded"}}, "operation")
    assert not isinstance(raised.value, NotFoundError)


def test_no_code_is_both_retryable_and_of_an_unknown_outcome() -> None:
    assert not ec2_fleet_launch._RETRYABLE & ec2_fleet_launch._UNKNOWN_OUTCOME
