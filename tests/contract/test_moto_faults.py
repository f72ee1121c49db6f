"""The faults of moto that `local_cloud` corrects: each test shows one of them in plain moto.

A test that fails after an update says that moto has corrected the fault: remove the correction, its row in
docs/reference/emulator.md and the test.  No test measures a time: costs are counted in calls of functions.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
import pytest
from flask.testing import FlaskClient
from moto import mock_aws
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import responses
from moto.core.model_instances import model_data
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import FakeKey, s3_backends
from moto.sqs import models, utils
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from local_cloud import moto_caches, moto_cloudwatch, moto_ec2, moto_s3, moto_sqs

pytestmark = pytest.mark.own_emulator

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "emulator.md"
ACCOUNT, REGION = "123456789012", "us-east-1"
TEMPLATE = {"LaunchTemplateName": "template"}
MEND = "moto has corrected this: remove the correction, its row in docs/reference/emulator.md and this test"


@pytest.fixture(autouse=True)
def _plain_moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # they take seconds to load
    for patches in (moto_caches, moto_cloudwatch, moto_ec2, moto_s3, moto_sqs):
        patches._uninstall()
    with mock_aws():
        yield


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


def calls_of(function: Callable[[], object]) -> int:
    """How many functions a call of `function` calls, directly or indirectly."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def test_every_row_of_the_documentation_has_its_test_and_every_test_its_row() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8"))
    here = {name for name in globals() if name.startswith("test_")}
    assert sorted(named) == sorted(here - {"test_every_row_of_the_documentation_has_its_test_and_every_test_its_row"})


# --- SQS -----------------------------------------------------------------------------------------


@pytest.fixture
def queue() -> models.Queue:
    backend = models.SQSBackend(REGION, ACCOUNT)
    backend.create_queue("q")
    return backend.get_queue("q")


def send(queue: models.Queue, count: int) -> models.SQSBackend:
    backend = models.SQSBackend(REGION, ACCOUNT)
    backend.queues["q"] = queue
    for number in range(count):
        backend.send_message("q", str(number))
    return backend


def test_a_message_that_is_sent_while_another_is_deleted_is_lost(queue: models.Queue) -> None:
    class Interrupted(list[models.Message]):
        """At the end of the second look at all messages, another thread sends one."""

        looks = 0

        def __iter__(self) -> Iterator[models.Message]:
            self.looks += 1
            yield from list.__iter__(self)
            if self.looks == 2:
                backend.send_message("q", "sent meanwhile")

    backend = send(queue, 1)
    (received,) = backend.receive_message("q", 1, 0, 30)
    queue._messages = Interrupted(queue._messages)
    backend.delete_message("q", received.receipt_handle or "")
    assert [message.body for message in queue._messages] == [], MEND


def test_a_receive_costs_more_the_more_messages_there_are(queue: models.Queue) -> None:
    def receive() -> int:
        return calls_of(lambda: backend.receive_message("q", 1, 0, 30))

    backend = send(queue, 5)
    few = receive()
    send(queue, 250)
    assert receive() > 3 * few, MEND


def test_a_delivery_that_is_over_releases_the_message_of_another_receiver(queue: models.Queue) -> None:
    backend = send(queue, 1)
    (first,) = backend.receive_message("q", 1, 0, 0)
    backend.receive_message("q", 1, 0, 30)
    backend.change_message_visibility("q", first.receipt_handle or "", 0)
    assert len(backend.receive_message("q", 1, 0, 30)) == 1, MEND


def test_a_message_that_is_not_in_flight_can_be_hidden(queue: models.Queue) -> None:
    backend = send(queue, 1)
    (received,) = backend.receive_message("q", 1, 0, 0)
    backend.change_message_visibility("q", received.receipt_handle or "", 30)
    assert backend.receive_message("q", 1, 0, 30) == [], MEND


def test_a_receipt_handle_is_drawn_letter_by_letter() -> None:
    assert calls_of(utils.generate_receipt_handle) > 185, MEND


# --- S3 ------------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[FlaskClient]:
    """A client of S3's application, for requests that overlap."""
    web = create_backend_app("s3").test_client()
    web.environ_base["HTTP_AUTHORIZATION"] = (
        "AWS4-HMAC-SHA256 Credential=test/20260301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )
    assert web.put("/bucket").status_code == 200
    yield web
    s3_backends.reset()


def test_an_object_is_read_before_its_metadata_is_stored(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, may_go_on = threading.Event(), threading.Event()
    set_metadata = FakeKey.set_metadata

    def slow_set_metadata(self: FakeKey, *args: Any) -> None:
        stored.set()
        may_go_on.wait(5)
        set_metadata(self, *args)

    monkeypatch.setattr(FakeKey, "set_metadata", slow_set_metadata)
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(web.put, "/bucket/key", data=b"body", headers={"x-amz-meta-result": "tabby"})
        assert stored.wait(5)
        response = web.get("/bucket/key")
        may_go_on.set()
        put.result()
    assert response.status_code == 200 and "x-amz-meta-result" not in response.headers, MEND


def test_two_conditional_writes_succeed(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, may_go_on = threading.Event(), threading.Event()
    init = FakeKey.__init__

    def slow_init(self: FakeKey, *args: Any, **kwargs: Any) -> None:
        if not checked.is_set():
            checked.set()
            may_go_on.wait(5)
        init(self, *args, **kwargs)

    def put() -> int:
        return web.put("/bucket/key", data=b"1", headers={"If-None-Match": "*"}).status_code

    monkeypatch.setattr(FakeKey, "__init__", slow_init)
    # The second write runs whole while the first stands between its check and its key; side by side from there on,
    # moto could close the object of one while it answers, which is another fault.
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(put)
        assert checked.wait(5)
        second = put()
        may_go_on.set()
        assert [first.result(), second] == [200, 200], MEND


def test_a_listing_takes_hundreds_of_calls_for_each_entry(web: FlaskClient) -> None:
    def cost() -> int:
        return calls_of(lambda: web.get("/bucket?list-type=2"))

    cost()
    empty = cost()
    for number in range(20):
        web.put(f"/bucket/{number}", data=b"body")
    theirs = cost() - empty
    uninstall = moto_s3.install()
    ours = cost() - empty
    uninstall()
    assert theirs > 20 * 200 and theirs > 5 * ours, MEND


def test_an_upload_in_parts_is_notified_twice() -> None:
    s3, sqs = client("s3"), client("sqs")
    s3.create_bucket(Bucket="bucket")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
    s3.put_bucket_notification_configuration(
        Bucket="bucket",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    s3.upload_fileobj(io.BytesIO(bytes(9 << 20)), "bucket", "key")
    bodies = [
        json.loads(found["Body"]) for found in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    ]
    events = [record["eventName"] for body in bodies for record in body.get("Records", [])]
    assert sorted(events) == ["ObjectCreated:CompleteMultipartUpload", "ObjectCreated:Put"], MEND


def test_versions_behind_a_deleted_one_are_not_listed() -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="bucket")
    for key in "abc":
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    page = s3.list_object_versions(Bucket="bucket", MaxKeys=1)
    s3.delete_object(Bucket="bucket", Key="a")
    markers = {name: page[f"Next{name}"] for name in ("KeyMarker", "VersionIdMarker")}
    assert not s3.list_object_versions(Bucket="bucket", **markers).get("Versions"), MEND


# --- EC2 -----------------------------------------------------------------------------------------


@pytest.fixture
def ec2() -> Any:
    """A client of EC2, which has a launch template."""
    ec2 = client("ec2")
    image = ec2.register_image(Name="image")["ImageId"]
    data = {"ImageId": image, "InstanceType": "t3.small", "MetadataOptions": {"HttpTokens": "required"}}
    ec2.create_launch_template(LaunchTemplateName="template", LaunchTemplateData=data)
    return ec2


def create_fleet(ec2: Any, count: int, **others: str) -> list[str]:
    response = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {**TEMPLATE, "Version": "$Default"}}],
        TargetCapacitySpecification={"TotalTargetCapacity": count, "DefaultTargetCapacityType": "on-demand"},
        **others,
    )
    return [instance_id for entry in response["Instances"] for instance_id in entry["InstanceIds"]]


def describe(ec2: Any, instance_ids: list[str]) -> list[dict[str, Any]]:
    found = ec2.describe_instances(InstanceIds=instance_ids)["Reservations"]
    return [instance for reservation in found for instance in reservation["Instances"]]


def test_run_instances_launches_the_least_number(ec2: Any) -> None:
    assert len(ec2.run_instances(LaunchTemplate=TEMPLATE, MinCount=1, MaxCount=3)["Instances"]) == 1, MEND


def test_create_fleet_ignores_the_client_token(ec2: Any) -> None:
    assert create_fleet(ec2, 1, ClientToken="again") != create_fleet(ec2, 1, ClientToken="again"), MEND


def test_create_fleet_ignores_the_metadata_options_of_the_template(ec2: Any) -> None:
    (instance,) = describe(ec2, create_fleet(ec2, 1))
    assert instance["MetadataOptions"]["HttpTokens"] == "optional", MEND


def test_create_fleet_does_not_tag_instances_with_the_template(ec2: Any) -> None:
    (instance,) = describe(ec2, create_fleet(ec2, 1))
    assert "aws:ec2launchtemplate:id" not in {tag["Key"] for tag in instance.get("Tags", [])}, MEND


def test_instances_that_ended_long_ago_are_described(ec2: Any) -> None:
    launched = create_fleet(ec2, 1)
    ec2.terminate_instances(InstanceIds=launched)
    instance = ec2_backends[ACCOUNT][REGION].get_instance(launched[0])
    for name, value in vars(instance).items():
        if isinstance(value, datetime):
            setattr(instance, name, value - timedelta(hours=2))
    instance._reason = "User initiated (2020-01-01 00:00:00 UTC)"
    assert describe(ec2, launched)[0]["State"]["Name"] == "terminated", MEND


def test_the_network_interface_of_a_terminated_instance_is_kept(ec2: Any) -> None:
    launched = create_fleet(ec2, 1)
    (address,) = [instance["PrivateIpAddress"] for instance in describe(ec2, launched)]
    ec2.terminate_instances(InstanceIds=launched)
    (interface,) = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert interface["PrivateIpAddress"] == address, MEND


def test_fleets_without_instances_are_kept(ec2: Any) -> None:
    for _fleet in range(3):
        ec2.terminate_instances(InstanceIds=create_fleet(ec2, 1))
    assert len(ec2_backends[ACCOUNT][REGION].fleets) == 3, MEND


def test_values_of_metrics_are_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moto_cloudwatch, "VALUES_KEPT", 3)
    cloudwatch = client("cloudwatch")

    def put(count: int) -> list[float]:
        data = [{"MetricName": "Backlog", "Value": float(number)} for number in range(count)]
        cloudwatch.put_metric_data(Namespace="Fleet", MetricData=data)
        return [vars(datum)["value"] for datum in cloudwatch_backends[ACCOUNT][REGION].metric_data]

    assert len(put(5)) == 5 and len(put(5)) == 10, MEND
    uninstall = moto_cloudwatch.install()
    latest = put(5)
    uninstall()
    assert latest == [2.0, 3.0, 4.0]


def test_a_listing_of_launch_templates_has_one_page(ec2: Any) -> None:
    for number in range(20):
        data = {"ImageId": "ami-1"}
        ec2.create_launch_template(LaunchTemplateName=f"template-{number}", LaunchTemplateData=data)
    page = ec2.describe_launch_templates()
    assert len(page["LaunchTemplates"]) == 15 and "NextToken" not in page, MEND


# --- every service -------------------------------------------------------------------------------


def test_the_services_are_listed_for_each_request() -> None:
    dispatcher = DomainDispatcherApplication(create_backend_app)
    dispatcher.get_backend_for_host("s3")
    assert calls_of(lambda: dispatcher.get_backend_for_host("s3")) > 100, MEND


def test_the_methods_of_a_service_are_listed_for_each_request() -> None:
    responses.method_names_from_class(responses.BaseResponse)  # type: ignore[attr-defined]
    again = calls_of(lambda: responses.method_names_from_class(responses.BaseResponse))  # type: ignore[attr-defined]
    assert again > 100, MEND


def test_names_are_converted_for_each_request() -> None:
    responses.camelcase_to_underscores("MaxNumberOfMessages")  # type: ignore[attr-defined]
    assert calls_of(lambda: responses.camelcase_to_underscores("MaxNumberOfMessages")) > 10, MEND  # type: ignore[attr-defined]


def test_attributes_are_looked_up_anew_for_each_object(ec2: Any) -> None:
    def cost() -> int:
        return calls_of(lambda: describe(ec2, launched))

    launched = create_fleet(ec2, 5)
    cost()
    theirs = cost()
    uninstall = moto_caches.install()
    cost()
    ours = cost()
    uninstall()
    assert theirs > 1.2 * ours, MEND


def test_deleted_messages_are_kept_for_the_dashboard(queue: models.Queue) -> None:
    backend = send(queue, 1)
    (received,) = backend.receive_message("q", 1, 0, 30)
    backend.delete_message("q", received.receipt_handle or "")
    tracked: Any = model_data["sqs"]["Message"]
    assert any(message.body == received.body for message in tracked.instances_tracked), MEND


def test_a_connection_is_closed_after_a_request() -> None:
    server = make_server("127.0.0.1", 0, Response("body"), threaded=True, request_handler=MotoRequestHandler)
    with contextlib.closing(server.socket), ThreadPoolExecutor(1) as pool:
        pool.submit(server.handle_request)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read() == b"body"
    assert response.headers["Connection"] == "close", MEND
