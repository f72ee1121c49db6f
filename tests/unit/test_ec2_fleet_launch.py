"""What EC2 answers to a launch, distinguished: capacity that may come back, mistakes that stay, and not knowing."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from aws.ec2_fleet_launch import Launcher, LaunchRequest, is_retryable
from core.errors import CloudError

REQUEST = LaunchRequest("template", ("t3.small", "t3a.small"), ("subnet-1", "subnet-2"), {"owner": "us"})


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "what EC2 says."}}, "CreateFleet")


class FakeClient:
    """Answers as planned: a number of instances to launch, with error codes for the rest, or an exception."""

    def __init__(self, *answers: tuple[int, list[str]] | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def create_fleet(self, **parameters: Any) -> dict[str, Any]:
        self.requests.append(parameters)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        count, codes = answer
        # Types and pools come as entries of their own.
        instances = [{"InstanceIds": [f"i-{len(self.requests)}-{number}"]} for number in range(count)]
        errors = [{"ErrorCode": code, "ErrorMessage": "what EC2 says."} for code in codes]
        return {"FleetId": "fleet-1", "Instances": instances, "Errors": errors}


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("InsufficientInstanceCapacity", True),
        ("InsufficientFreeAddressesInSubnet", True),
        ("MaxSpotInstanceCountExceeded", True),
        ("VcpuLimitExceeded", True),
        ("InstanceLimitExceeded", True),
        ("RequestLimitExceeded", True),
        ("UnfulfillableCapacity", True),
        ("SpotMaxPriceTooLow", True),
        ("UnauthorizedOperation", False),
        ("InvalidLaunchTemplateName.NotFoundException", False),
        ("InvalidParameterValue", False),
        ("InvalidAMIID.NotFound", False),
        ("SomethingNew", False),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["refused", "listed"])
def test_codes_are_distinguished_in_every_form(code: str, retryable: bool, whole: bool) -> None:
    assert is_retryable(code) is retryable
    launched = Launcher(FakeClient(error(code) if whole else (0, [code])), REQUEST).launch(3, "token")
    assert launched.instance_ids == ()
    assert launched.problem is not None
    assert (launched.problem.code, launched.problem.retryable) == (code, retryable)
    assert launched.problem.sentence.startswith(f"EC2 does not launch instances: {code}: what EC2 says; ")


@pytest.mark.parametrize(
    "failure", [error("InternalError"), error("ServiceUnavailable"), EndpointConnectionError(endpoint_url="x")]
)
def test_an_open_outcome_is_an_error_and_no_answer(failure: Exception) -> None:
    with pytest.raises(CloudError):
        Launcher(FakeClient(failure), REQUEST).launch(3, "token")


def test_some_is_better_than_none_and_one_passing_reason_is_enough_for_hope() -> None:
    launched = Launcher(FakeClient((2, ["Unsupported", "InsufficientInstanceCapacity"])), REQUEST).launch(3, "token")
    assert len(launched.instance_ids) == 2
    assert launched.problem is not None and launched.problem.code == "InsufficientInstanceCapacity"


def test_errors_of_some_pools_do_not_matter_where_others_gave_enough() -> None:
    launched = Launcher(FakeClient((3, ["Unsupported"])), REQUEST).launch(3, "token")
    assert len(launched.instance_ids) == 3 and launched.problem is None


def test_every_type_is_asked_for_in_every_subnet() -> None:
    client = FakeClient((1, []))
    Launcher(client, REQUEST).launch(1, "token")
    (request,) = client.requests
    (config,) = request["LaunchTemplateConfigs"]
    assert [tuple(override.values()) for override in config["Overrides"]] == [
        ("t3.small", "subnet-1"),
        ("t3.small", "subnet-2"),
        ("t3a.small", "subnet-1"),
        ("t3a.small", "subnet-2"),
    ]
    assert (request["Type"], request["ClientToken"]) == ("instant", "token")
    assert request["TargetCapacitySpecification"] == {
        "TotalTargetCapacity": 1,
        "DefaultTargetCapacityType": "on-demand",
    }


SPOT = LaunchRequest("template", (), (), {}, spot=True)


def test_spot_comes_first_and_the_rest_on_demand_under_tokens_of_their_own() -> None:
    client = FakeClient((2, ["MaxSpotInstanceCountExceeded"]), (3, []))
    launched = Launcher(client, SPOT).launch(5, "token")
    assert len(launched.instance_ids) == 5 and launched.problem is None
    kinds = [request["TargetCapacitySpecification"] for request in client.requests]
    assert [(kind["DefaultTargetCapacityType"], kind["TotalTargetCapacity"]) for kind in kinds] == [
        ("spot", 5),
        ("on-demand", 3),
    ]
    assert len({request["ClientToken"] for request in client.requests}) == 2
    assert client.requests[0]["SpotOptions"] == {"AllocationStrategy": "price-capacity-optimized"}


def test_spot_that_gives_everything_is_not_followed_by_another_request() -> None:
    client = FakeClient((5, []))
    assert len(Launcher(client, SPOT).launch(5, "token").instance_ids) == 5


def test_what_neither_has_is_reported() -> None:
    launched = Launcher(FakeClient((1, ["UnfulfillableCapacity"]), (1, ["VcpuLimitExceeded"])), SPOT).launch(5, "t")
    assert len(launched.instance_ids) == 2
    assert launched.problem is not None and launched.problem.code == "VcpuLimitExceeded"
