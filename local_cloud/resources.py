"""Create the program's buckets, queues, machine image and launch template in the embedded cloud.

On AWS the CloudFormation stack in ``infra/`` creates them.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from aws.clients import Clients, cloud_errors
from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue
from core.object_keys import DROPPED
from core.settings import Settings

DEAD_LETTER_RETENTION_SECONDS = 14 * 24 * 3600  # SQS's maximum: time to investigate
INSTANCE_TYPE = "t3.small"


def create_resources(clients: Clients, settings: Settings) -> None:
    """Creates buckets with notifications, queues, machine image and launch template.

    The web tier's instance, too, if it has a name.  What exists is left as it is.

    Raises:
        CloudError: a service refused or failed, or a queue with the name has other attributes.
    """
    with cloud_errors("creating the resources"):
        for bucket in (settings.input_bucket, settings.output_bucket, settings.state_bucket):
            create_bucket(clients["s3"], bucket)
        create_queues(clients["sqs"], settings)
        notify_queue(clients, settings)
        image_id = create_launch_template(clients["ec2"], settings.launch_template_name)
        if settings.web_instance_name:
            _create_web_instance(clients["ec2"], settings.web_instance_name, image_id)


def create_bucket(client: Any, bucket: str) -> None:
    """Creates a bucket in the client's region, unless it exists."""
    region = client.meta.region_name
    # us-east-1 is S3's default; it refuses that region as an explicit constraint.
    location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=bucket, **location)


def create_queues(client: Any, settings: Settings) -> None:
    """Creates the job queue, its dead-letter queue and that of bulk jobs, unless they exist."""
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
    if settings.bulk_queue_name:
        # Without a dead-letter queue: a worker answers a job that is delivered too often with failures.
        client.create_queue(
            QueueName=settings.bulk_queue_name,
            Attributes={"VisibilityTimeout": str(settings.visibility_timeout_seconds)},
        )
    if settings.response_queue_name:
        client.create_queue(QueueName=settings.response_queue_name)


def notify_queue(clients: Clients, settings: Settings) -> None:
    """Lets S3 send the job queue a notification of each dropped photo."""
    if clients["s3"].get_bucket_notification_configuration(Bucket=settings.input_bucket).get("QueueConfigurations"):
        return
    sqs = clients["sqs"]
    url = sqs.get_queue_url(QueueName=settings.queue_name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    below = {"Key": {"FilterRules": [{"Name": "prefix", "Value": DROPPED.prefix}]}}
    clients["s3"].put_bucket_notification_configuration(
        Bucket=settings.input_bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": below}]
        },
    )
    # S3 sends a test event at once.  A worker would delete it, but an instance would be launched for it.
    queue = JobQueue(sqs, settings.queue_name)
    received = queue.receive(MAX_MESSAGES_PER_REQUEST, wait_seconds=0)
    queue.delete([message.receipt_handle for message in received if message.is_void])
    queue.release([message.receipt_handle for message in received if not message.is_void])


def create_launch_template(client: Any, name: str) -> str:
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
