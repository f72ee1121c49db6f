"""Error responses as AWS documents their form, sent through botocore's own parsers and retries.

Each row is a response of a service and what follows: the request is repeated (retry), the program goes on and tries
again in its next pass (hold), or the caller gets a sentence that says what to do.  Codes, statuses and the form of
bodies are from the services' API references; no body is a recording of a real response.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from aws.account import Account
from aws.builders import Builder, Builders
from aws.clients import Clients
from aws.ec2_fleet_launch import Launch, Launcher, LaunchRequest
from aws.in_memory.load import make_job
from aws.queue import JobQueue
from aws.stack_resources import StackResources
from aws.stacks import Stack
from aws.state import StateStore
from core.errors import CloudError, ConflictError, DeniedError, ExpiredCredentialsError, NotFoundError

ATTEMPTS = 3
ONE, REPEATED = 1, ATTEMPTS
JOB = make_job(0)


class Body(BytesIO):
    """The body of a response, as urllib3 has it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.getvalue()


class Service:
    """Clients whose requests all get the same response; counts the requests."""

    def __init__(self) -> None:
        environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "us-east-1"}
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.clients = Clients(max_attempts=ATTEMPTS, environment={**environment, **keys})
        self.sent = 0
        self._response: tuple[int, str, dict[str, str]] = (500, "", {})
        for name in ("s3", "ec2", "sqs", "cloudformation", "autoscaling", "sts"):
            self.clients[name].meta.events.register("before-send", self._answer)

    def respond(self, service: str, status: int, body: str, headers: dict[str, str] | None = None) -> Any:
        """Returns the service's client, whose requests get this response from now on."""
        self.sent, self._response = 0, (status, body, headers or {})
        return self.clients[service]

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        self.sent += 1
        status, body, headers = self._response
        return AWSResponse(request.url, status, headers, Body(body.encode()))


@pytest.fixture(scope="module")
def clients() -> Service:
    return Service()


@pytest.fixture
def service(clients: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    return clients


def s3(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message><RequestId>r</RequestId></Error>"


def ec2(code: str, message: str = "m") -> str:
    return f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"


def query(code: str, message: str = "m") -> str:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"


def json_error(kind: str) -> str:
    return json.dumps({"__type": kind, "message": "m"})


@pytest.mark.parametrize(
    ("status", "code", "condition", "kind", "sent"),
    [
        # Another writer was first: the caller reads the object and tries again (aws/conflict_retry.py).
        (412, "PreconditionFailed", "create", ConflictError, ONE),
        (412, "PreconditionFailed", "replace", ConflictError, ONE),
        (409, "ConditionalRequestConflict", "create", ConflictError, ONE),
        (409, "ConditionalRequestConflict", "replace", ConflictError, ONE),
        (404, "NoSuchKey", "replace", ConflictError, ONE),
        # A missing bucket is no missing object.
        (404, "NoSuchBucket", "create", NotFoundError, ONE),
        (404, "NoSuchBucket", "put", NotFoundError, ONE),
        (409, "OperationAborted", "put", CloudError, ONE),
        (503, "SlowDown", "put", CloudError, REPEATED),
        (500, "InternalError", "put", CloudError, REPEATED),
        (503, "ServiceUnavailable", "put", CloudError, REPEATED),
        (400, "RequestTimeout", "put", CloudError, REPEATED),
        (403, "AccessDenied", "put", DeniedError, ONE),
        (403, "RequestTimeTooSkewed", "put", CloudError, ONE),
        (400, "ExpiredToken", "put", ExpiredCredentialsError, ONE),
    ],
)
def test_s3_writes(service: Service, status: int, code: str, condition: str, kind: type[CloudError], sent: int) -> None:
    store = StateStore(service.respond("s3", status, s3(code)), "bucket")
    requests: dict[str, Callable[[], str]] = {
        "put": lambda: store.put("key", b"body"),
        "create": lambda: store.create("key", b"body"),
        "replace": lambda: store.replace("key", b"body", "etag"),
    }
    with pytest.raises(CloudError, match=code) as raised:
        requests[condition]()
    assert (type(raised.value), service.sent) == (kind, sent)


def launch(service: Service, status: int, body: str) -> Launch:
    client = service.respond("ec2", status, body)
    return Launcher(client, LaunchRequest("workers", ("c6i.large",), (), {"elastic:fleet": "f"})).launch(2, "token")


@pytest.mark.parametrize(
    ("status", "code", "retryable", "sent"),
    [
        (400, "VcpuLimitExceeded", True, ONE),
        (400, "InstanceLimitExceeded", True, ONE),
        (400, "MaxSpotInstanceCountExceeded", True, ONE),
        (503, "RequestLimitExceeded", True, REPEATED),
        (400, "UnauthorizedOperation", False, ONE),
        (400, "InvalidLaunchTemplateName.NotFoundException", False, ONE),
        (400, "InvalidAMIID.NotFound", False, ONE),
        (400, "InvalidSubnetID.NotFound", False, ONE),
        (400, "InvalidParameterValue", False, ONE),
        (400, "Unsupported", False, ONE),
        (400, "IdempotentParameterMismatch", False, ONE),
    ],
)
def test_a_fleet_that_is_refused_is_retried_later_or_needs_an_operator(
    service: Service, status: int, code: str, retryable: bool, sent: int
) -> None:
    problem = launch(service, status, ec2(code)).problem
    assert problem is not None and (problem.code, problem.retryable) == (code, retryable)
    assert ("the launch will be retried" if retryable else "an operator must fix this") in problem.sentence
    assert service.sent == sent


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(500, "InternalError", CloudError), (503, "Unavailable", CloudError), (503, "ServiceUnavailable", CloudError)],
)
def test_after_a_failure_inside_ec2_the_same_launch_is_repeated(
    service: Service, status: int, code: str, kind: type[CloudError]
) -> None:
    """It is unknown whether instances were launched: the controller keeps the client token for its next pass."""
    with pytest.raises(kind, match=code):
        launch(service, status, ec2(code))
    assert service.sent == REPEATED


@pytest.mark.parametrize(
    ("codes", "retryable"),
    [
        (["InsufficientInstanceCapacity"], True),
        (["InsufficientFreeAddressesInSubnet"], True),
        (["SpotMaxPriceTooLow"], True),
        (["UnauthorizedOperation"], False),
        (["InvalidFleetConfiguration"], False),
        (["UnauthorizedOperation", "InsufficientInstanceCapacity"], True),
        ([], True),
    ],
)
def test_a_fleet_of_fewer_instances_has_the_reason(service: Service, codes: list[str], retryable: bool) -> None:
    items = "".join(
        f"<item><errorCode>{code}</errorCode><errorMessage>m</errorMessage><lifecycle>on-demand</lifecycle></item>"
        for code in codes
    )
    launched = "<item><instanceIds><item>i-1</item></instanceIds><instanceType>c6i.large</instanceType></item>"
    result = launch(
        service,
        200,
        '<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
        f"<fleetId>fleet-1</fleetId><errorSet>{items}</errorSet><fleetInstanceSet>{launched}</fleetInstanceSet>"
        "</CreateFleetResponse>",
    )
    assert result.instance_ids == ("i-1",)
    assert result.problem is not None and result.problem.retryable is retryable


BUILDER = Builder("ami-1", "t3.small", "builder", "")


@pytest.mark.parametrize(
    ("status", "code", "sent"),
    [
        (500, "InsufficientInstanceCapacity", REPEATED),
        (400, "VcpuLimitExceeded", ONE),
        (400, "InvalidParameterValue", ONE),
        (403, "UnauthorizedOperation", ONE),
    ],
)
def test_a_builder_that_is_refused_ends_the_build_with_ec2s_words(
    service: Service, monkeypatch: pytest.MonkeyPatch, status: int, code: str, sent: int
) -> None:
    client = service.respond("ec2", status, ec2(code, "say why"))
    monkeypatch.setattr(client, "describe_images", lambda **_: {"Images": [{"RootDeviceName": "/dev/xvda"}]})
    with pytest.raises(CloudError, match=f"launching the builder failed: .*{code}.*say why"):
        Builders(client, None).launch(BUILDER, "image")
    assert service.sent == sent


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected", "sent"),
    [
        (400, "com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", NotFoundError, ONE),
        (400, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled", CloudError, REPEATED),
        (403, "com.amazonaws.sqs#OverLimit", "OverLimit", CloudError, ONE),
        (403, "com.amazon.coral.service#AccessDeniedException", "AccessDenied", DeniedError, ONE),
        (400, "com.amazon.coral.service#ThrottlingException", "ThrottlingException", CloudError, REPEATED),
        (403, "com.amazon.coral.service#ExpiredTokenException", "ExpiredToken", ExpiredCredentialsError, ONE),
        (500, "com.amazon.coral.service#InternalFailure", "InternalFailure", CloudError, REPEATED),
        (503, "com.amazon.coral.service#ServiceUnavailableException", "ServiceUnavailable", CloudError, REPEATED),
    ],
)
def test_sqs(service: Service, status: int, kind: str, code: str, expected: type[CloudError], sent: int) -> None:
    headers = {"x-amzn-query-error": f"{code};Sender"}
    queue = JobQueue(service.respond("sqs", status, json_error(kind), headers), "jobs")
    with pytest.raises(CloudError) as raised:
        queue.send([JOB])
    assert (type(raised.value), service.sent) == (expected, sent)


def test_sqs_takes_a_part_of_a_batch(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that it refuses are sent again, three times at most."""
    entry = {"Id": "0", "SenderFault": False, "Code": "InternalError", "Message": "m"}
    client = service.respond("sqs", 200, json.dumps({"Successful": [], "Failed": [entry]}))
    monkeypatch.setattr(client, "get_queue_url", lambda **_: {"QueueUrl": "http://127.0.0.1:1/jobs"})
    with pytest.raises(CloudError, match="SQS refused 1 of them 3 times"):
        JobQueue(client, "jobs").send([JOB])
    assert service.sent == 3


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "sent"),
    [
        (400, "ValidationError", "Stack:arn is in UPDATE_IN_PROGRESS state and can not be updated.", CloudError, ONE),
        (400, "InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]", CloudError, ONE),
        (400, "LimitExceededException", "Limit for stack has been exceeded", CloudError, REPEATED),
        (400, "AlreadyExistsException", "ChangeSet elastic-1 already exists", CloudError, ONE),
        (400, "Throttling", "Rate exceeded", CloudError, REPEATED),
        (403, "AccessDenied", "User is not authorized to perform: cloudformation:CreateChangeSet", DeniedError, ONE),
        (403, "ExpiredToken", "The security token included in the request is expired", ExpiredCredentialsError, ONE),
    ],
)
def test_cloudformation(
    service: Service, status: int, code: str, message: str, kind: type[CloudError], sent: int
) -> None:
    stack = Stack(service.respond("cloudformation", status, query(code, message)), "photos")
    with pytest.raises(CloudError) as raised:
        stack.execute("arn:aws:cloudformation:us-east-1:123456789012:changeSet/elastic-1/x")
    assert (type(raised.value), service.sent) == (kind, sent)
    assert message.rstrip(".") in str(raised.value)


def test_a_stack_that_does_not_exist_has_no_state(service: Service) -> None:
    body = query("ValidationError", "Stack with id photos does not exist")
    assert Stack(service.respond("cloudformation", 400, body), "photos").state() is None


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information to create a change set.",
        "No updates are to be performed.",
    ],
)
def test_a_change_set_without_changes_is_empty(service: Service, reason: str) -> None:
    fields = f"<Status>FAILED</Status><StatusReason>{reason}</StatusReason><ChangeSetId>c</ChangeSetId>"
    result = f"<DescribeChangeSetResult>{fields}</DescribeChangeSetResult>"
    body = f"<DescribeChangeSetResponse>{result}</DescribeChangeSetResponse>"
    assert Stack(service.respond("cloudformation", 200, body), "photos").proposal("c").empty


@pytest.mark.parametrize(
    ("status", "code", "message", "sentence", "sent"),
    [
        (400, "ValidationError", "AutoScalingGroup name not found - null", None, ONE),
        (400, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup web not found", None, ONE),
        (400, "ValidationError", "1 validation error detected", "stopping the group web failed", ONE),
        (400, "ScalingActivityInProgress", "in progress", "ScalingActivityInProgress", ONE),
        (500, "ResourceContention", "pending update", "ResourceContention", REPEATED),
        (400, "Throttling", "Rate exceeded", "Rate exceeded", REPEATED),
    ],
)
def test_auto_scaling(service: Service, status: int, code: str, message: str, sentence: str | None, sent: int) -> None:
    service.respond("autoscaling", status, query(code, message))
    resources = StackResources(service.clients, "photos")
    if sentence is None:
        resources.stop_groups(["web"])  # one that is gone is no error
    else:
        with pytest.raises(CloudError, match=sentence):
            resources.stop_groups(["web"])
    assert service.sent == sent


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ExpiredToken", ExpiredCredentialsError),
        ("InvalidClientTokenId", CloudError),
        ("SignatureDoesNotMatch", CloudError),
    ],
)
def test_credentials_that_have_ended_get_a_sentence(service: Service, code: str, kind: type[CloudError]) -> None:
    service.respond("sts", 403, query(code, "The security token included in the request is expired"))
    with pytest.raises(kind, match=code) as raised:
        Account(service.clients).identity()
    assert ("copy new credentials" in str(raised.value)) is (kind is ExpiredCredentialsError)
    assert service.sent == ONE
