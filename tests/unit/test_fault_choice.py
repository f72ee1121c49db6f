"""Which fault meets which request: a seeded choice, in the proportions asked for."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from local_cloud.faults import Call, Fault, FaultSpec, choose, error_response, read_call

S3 = Call("s3", "", "us-east-1")
SQS = Call("sqs", "ReceiveMessage", "us-east-1")
DESCRIBE = Call("ec2", "DescribeInstances", "us-east-1")


def outcomes(call: Call, spec: FaultSpec, seed: int = 0, count: int = 20_000) -> list[Fault | None]:
    dice = random.Random(seed)
    return [choose(call, spec, dice) for _ in range(count)]


def test_the_same_seed_chooses_the_same_faults() -> None:
    assert outcomes(S3, FaultSpec(), seed=7) == outcomes(S3, FaultSpec(), seed=7)
    assert outcomes(S3, FaultSpec(), seed=7) != outcomes(S3, FaultSpec(), seed=8)


@pytest.mark.parametrize("call", [S3, SQS], ids=["s3", "sqs"])
def test_every_kind_comes_as_often_as_asked(call: Call) -> None:
    spec = FaultSpec(throttle=0.1, error=0.2, delay=0.3, cut_before=0.15, cut_after=0.05)
    found = outcomes(call, spec)
    shares = {fault: count / len(found) for fault, count in Counter(found).items()}
    wanted = {
        Fault.THROTTLE: 0.1,
        Fault.ERROR: 0.2,
        Fault.DELAY: 0.3,
        Fault.CUT_BEFORE: 0.15,
        Fault.CUT_AFTER: 0.05,
        None: 0.2,
    }
    assert shares == pytest.approx(wanted, abs=0.02)


def test_ec2_is_only_throttled_and_delayed_and_the_rest_left_alone() -> None:
    spec = FaultSpec(throttle=0.2, error=0.2, delay=0.2, cut_before=0.2, cut_after=0.2)
    assert set(outcomes(DESCRIBE, spec)) == {Fault.THROTTLE, Fault.DELAY, None}
    assert set(outcomes(Call("ec2", "TerminateInstances", "us-east-1"), spec)) == {None}
    assert set(outcomes(Call("monitoring", "PutMetricData", "us-east-1"), spec)) == {None}


def test_launches_lack_capacity_as_often_as_asked_and_nothing_else_does() -> None:
    spec = FaultSpec(throttle=0.1, error=0, delay=0, cut_before=0, cut_after=0, capacity=0.4)
    found = outcomes(Call("ec2", "CreateFleet", "us-east-1"), spec)
    shares = {fault: count / len(found) for fault, count in Counter(found).items()}
    assert shares == pytest.approx({Fault.THROTTLE: 0.1, Fault.CAPACITY: 0.4, None: 0.5}, abs=0.02)
    assert Fault.CAPACITY not in outcomes(DESCRIBE, spec)


def test_another_service_uses_up_one_number_as_well() -> None:
    """Or the metrics of a worker would shift what happens to everybody else."""
    one, other = random.Random(1), random.Random(1)
    choose(Call("monitoring", "", "us-east-1"), FaultSpec(), one)
    choose(S3, FaultSpec(), other)
    assert one.random() == other.random()


@pytest.mark.parametrize(
    ("service", "fault", "status", "code"),
    [
        ("s3", Fault.THROTTLE, 503, "<Code>SlowDown</Code>"),
        ("s3", Fault.ERROR, 500, "<Code>InternalError</Code>"),
        ("sqs", Fault.THROTTLE, 400, '"__type": "com.amazonaws.sqs#ThrottlingException"'),
        ("sqs", Fault.ERROR, 500, '"__type": "com.amazonaws.sqs#InternalFailure"'),
        ("ec2", Fault.THROTTLE, 503, "<Code>RequestLimitExceeded</Code>"),
    ],
)
def test_errors_have_the_form_of_their_service(service: str, fault: Fault, status: int, code: str) -> None:
    response = error_response(service, fault)
    assert response.status_code == status and code in response.get_data(as_text=True)


def test_a_request_without_a_signature_has_no_client() -> None:
    assert read_call({"PATH_INFO": "/bucket/key"}) is None


def test_a_seed_or_an_object_says_what_is_wanted() -> None:
    assert FaultSpec.parse("42") == FaultSpec(seed=42)
    assert FaultSpec.parse('{"seed": 1, "delay": 0.5}') == FaultSpec(seed=1, delay=0.5)


@pytest.mark.parametrize(
    "text", ["", "often", "[1]", '{"dealy": 1}', '{"delay": 2}', '{"delay": -1}', '{"delay": "x"}']
)
def test_a_mistaken_specification_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FaultSpec.parse(text)
