"""Which of the program's errors a service's error becomes."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from aws.clients import Clients, cloud_errors
from aws.stack_resources import StackResources
from aws.stacks import Stack
from core.errors import AlreadyExistsError, CloudError, DeniedError, ExpiredCredentialsError, NotFoundError

# Codes and messages as the services document them.
CASES = [
    ("NoSuchKey", "The specified key does not exist.", NotFoundError),
    ("NoSuchBucket", "The specified bucket does not exist", NotFoundError),
    ("404", "Not Found", NotFoundError),
    ("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.", NotFoundError),
    ("QueueDoesNotExist", "The specified queue does not exist.", NotFoundError),
    ("InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist", NotFoundError),
    ("InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", NotFoundError),
    ("InvalidLaunchTemplateName.NotFoundException", "The specified launch template does not exist", NotFoundError),
    ("InvalidSnapshot.NotFound", "The snapshot 'snap-1' does not exist.", NotFoundError),
    ("InvocationDoesNotExist", "", NotFoundError),
    ("ParameterNotFound", "", NotFoundError),
    ("ResourceNotFoundException", "The specified log group does not exist.", NotFoundError),
    ("ValidationError", "Stack with id elastic does not exist", NotFoundError),
    ("ValidationError", "AutoScalingGroup name not found - AutoScalingGroup elastic-web not found", NotFoundError),
    ("ValidationError", "Template format error: unsupported structure.", CloudError),
    ("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", AlreadyExistsError),
    ("AccessDenied", "the role does not exist for all that we know", DeniedError),
    ("RequestLimitExceeded", "Request limit exceeded.", CloudError),
    ("InsufficientInstanceCapacity", "We currently do not have sufficient capacity", CloudError),
    ("ExpiredToken", "The provided token has expired.", ExpiredCredentialsError),
    ("RequestExpired", "Request has expired.", ExpiredCredentialsError),
]


@pytest.mark.parametrize(("code", "message", "kind"), CASES, ids=[f"{code} {kind.__name__}" for code, _, kind in CASES])
def test_an_error_of_a_service_has_its_kind(code: str, message: str, kind: type[CloudError]) -> None:
    with pytest.raises(CloudError, match=r"^trying failed: ") as caught, cloud_errors("trying"):
        raise ClientError({"Error": {"Code": code, "Message": message}}, "Operation")
    assert type(caught.value) is kind


def test_without_a_connection_it_is_an_error_too() -> None:
    with pytest.raises(CloudError, match=r"^trying failed: Could not connect"), cloud_errors("trying"):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")


@pytest.fixture
def clients() -> Clients:
    environment = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "us-east-1"}
    return Clients(environment={**environment, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})


def test_a_group_that_is_gone_does_not_keep_the_others_from_being_stopped(clients: Clients) -> None:
    with Stubber(clients["autoscaling"]) as stubber:
        stubber.add_client_error(
            "update_auto_scaling_group", "ValidationError", "AutoScalingGroup name not found - group a not found"
        )
        stopped = {"AutoScalingGroupName": "b", "MinSize": 0, "DesiredCapacity": 0}
        stubber.add_response("update_auto_scaling_group", {}, stopped)
        StackResources(clients, "elastic").stop_groups(["a", "b"])
        stubber.assert_no_pending_responses()


def test_a_stack_that_does_not_exist_has_no_state(clients: Clients) -> None:
    with Stubber(clients["cloudformation"]) as stubber:
        stubber.add_client_error("describe_stacks", "ValidationError", "Stack with id elastic does not exist")
        assert Stack(clients["cloudformation"], "elastic").state() is None
        stubber.add_client_error("describe_stacks", "ValidationError", "1 validation error detected")
        with pytest.raises(CloudError):
            Stack(clients["cloudformation"], "elastic").state()
