"""Create the program's buckets, queues, machine image and launch template in the embedded cloud.

On AWS the CloudFormation stack in ``infra/`` creates them.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from aws.clients import Clients, cloud_errors
from core.settings import Settings

DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600  # SQS's maximum: time to investigate
INSTANCE_TYPE = "t3.small"


def create_resources(clients: Clients, settings: Settings) -> None:
    """Creates buckets, queues, machine image and launch template, and the web tier's instance if it has a name.

    What exists is left as it is.

    Raises:
        CloudError: a service refused or failed, or a queue with the name has other attributes.
    """
    with cloud_errors("creating the resources"):
        for bucket in (settings.input_bucket, settings.output_bucket, settings.state_bucket):
            _create_bucket(clients["s3"], bucket)
        _create_queues(clients["sqs"], settings)
        image_id = _create_launch_template(clients["ec2"], settings.launch_template_name)
        if settings.web_instance_name:
            _create_web_instance(clients["ec2"], settings.web_instance_name, image_id)


def _create_bucket(client: Any, bucket: str) -> None:
    region = client.meta.region_name
    # us-east-1 is S3's default; it refuses that region as an explicit constraint.
    location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=bucket, **location)


def _create_queues(client: Any, settings: Settings) -> None:
    dead_letter_queue_url = client.create_queue(
        QueueName=settings.dead_letter_queue_name,
        Attributes={"MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_SECONDS)},
    )["QueueUrl"]
    attributes = client.get_queue_attributes(QueueUrl=dead_letter_queue_url, AttributeNames=["QueueArn"])["Attributes"]
    redrive_policy = {
        "deadLetterTargetArn": attributes["QueueArn"],
        "maxReceiveCount": settings.max_receive_count,
    }
    client.create_queue(
        QueueName=settings.queue_name,
        Attributes={
            "VisibilityTimeout": str(settings.visibility_timeout_seconds),
            "RedrivePolicy": json.dumps(redrive_policy),
            **({"MaximumMessageSize": str(settings.max_message_bytes)} if settings.max_message_bytes else {}),
        },
    )
    if settings.response_queue_name:
        client.create_queue(QueueName=settings.response_queue_name)


def _create_launch_template(client: Any, name: str) -> str:
    """Creates the workers' machine image and launch template unless they exist; returns the image's id."""
    try:
        found = client.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Default"])
        return str(found["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"])
    except client.exceptions.ClientError as error:
        if "NotFound" not in error.response["Error"]["Code"]:
            raise
    image_id = client.register_image(Name=name, Description="stands for the app tier's image; not bootable")["ImageId"]
    client.create_launch_template(
        LaunchTemplateName=name,
        LaunchTemplateData={
            "ImageId": image_id,
            "InstanceType": INSTANCE_TYPE,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},  # IMDSv2
        },
    )
    return str(image_id)


def _create_web_instance(client: Any, name: str, image_id: str) -> None:
    """Creates an instance that stands for the web tier's machine, unless it exists: no worker, and not of the fleet."""
    filters = [
        {"Name": "tag:Name", "Values": [name]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    if not client.describe_instances(Filters=filters)["Reservations"]:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        client.run_instances(
            ImageId=image_id, InstanceType=INSTANCE_TYPE, MinCount=1, MaxCount=1, TagSpecifications=tags
        )
