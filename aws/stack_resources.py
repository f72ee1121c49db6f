"""Resources of a deployment that CloudFormation does not manage: bucket contents, instances, alarms and tags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aws.clients import Clients, cloud_errors
from core.errors import CloudError, NotFoundError

# The tag of everything that CloudFormation creates for our stack; its value is the stack's name.
STACK_TAG = "elastic:stack"
_GONE = ("terminated",)
_KEYS_PER_DELETE = 1000


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm and its state: ``OK``, ``ALARM`` or ``INSUFFICIENT_DATA``."""

    name: str
    state: str
    description: str


class StackResources:
    """Manage what CloudFormation does not.

    Every method raises `CloudError` where a service fails after botocore's retries.
    """

    def __init__(self, clients: Clients, stack_name: str) -> None:
        self._clients = clients
        self._name = stack_name

    def use_template_version(self, template_name: str, version: int) -> None:
        """Make a version of a launch template the default, from which instances are launched.

        CloudFormation creates a new version for each change but never changes the default.
        """
        with cloud_errors(f"choosing the version of the launch template {template_name}"):
            self._clients["ec2"].modify_launch_template(LaunchTemplateName=template_name, DefaultVersion=str(version))

    def alarms(self) -> list[Alarm]:
        """List the stack's alarms, whose names begin with the stack's name."""
        with cloud_errors("describing alarms"):
            pages = self._clients["cloudwatch"].get_paginator("describe_alarms")
            return [
                Alarm(entry["AlarmName"], entry["StateValue"], entry.get("AlarmDescription", ""))
                for page in pages.paginate(AlarmNamePrefix=f"{self._name}-", AlarmTypes=["MetricAlarm"])
                for entry in page["MetricAlarms"]
            ]

    def stop_groups(self, names: Iterable[str]) -> None:
        """Scale Auto Scaling groups to 0, so that they terminate their instances and launch no more.

        A group that does not exist is no error: an earlier attempt to delete the stack may have deleted it.
        """
        for name in names:
            with contextlib.suppress(NotFoundError), cloud_errors(f"stopping the group {name}"):
                self._clients["autoscaling"].update_auto_scaling_group(
                    AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0
                )

    def instances(self) -> list[str]:
        """List the ids of the stack's instances that are not terminated, whatever launched them."""
        filters = [{"Name": f"tag:{STACK_TAG}", "Values": [self._name]}]
        with cloud_errors("describing the stack's instances"):
            return [
                entry["InstanceId"]
                for page in self._clients["ec2"].get_paginator("describe_instances").paginate(Filters=filters)
                for reservation in page["Reservations"]
                for entry in reservation["Instances"]
                if entry["State"]["Name"] not in _GONE
            ]

    def empty_bucket(self, bucket: str) -> int:
        """Delete every object, version and unfinished upload of a bucket; return how many; 0 if there is no bucket."""
        client = self._clients["s3"]
        count = 0
        try:
            with cloud_errors(f"emptying the bucket {bucket}"):
                for chunk in _versions(client, bucket):
                    response = client.delete_objects(Bucket=bucket, Delete={"Objects": chunk, "Quiet": True})
                    if failed := response.get("Errors"):
                        raise CloudError(f"emptying the bucket {bucket} failed: {failed[0].get('Code')}")
                    count += len(chunk)
                for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
                    for upload in page.get("Uploads", []):
                        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                        count += 1
        except NotFoundError:
            return 0
        return count

    def tagged(self) -> list[str]:
        """List the ARNs of resources with the stack's tag, without terminated instances."""
        with cloud_errors("listing the resources with the stack's tag"):
            pages = self._clients["resourcegroupstaggingapi"].get_paginator("get_resources")
            found = [
                entry["ResourceARN"]
                for page in pages.paginate(TagFilters=[{"Key": STACK_TAG, "Values": [self._name]}])
                for entry in page["ResourceTagMappingList"]
            ]
        existing = self.instances() if any(":instance/" in arn for arn in found) else []
        return sorted(arn for arn in found if ":instance/" not in arn or arn.rpartition("/")[2] in existing)


def _versions(client: Any, bucket: str) -> Iterator[list[dict[str, str]]]:
    """The versions and delete markers of a bucket, as many at a time as one request deletes.

    The caller deletes each chunk, so that the next one is the first page again: moto finds no page behind a deleted
    version.
    """
    while True:
        page = client.list_object_versions(Bucket=bucket, MaxKeys=_KEYS_PER_DELETE)
        chunk = [
            {"Key": entry["Key"], "VersionId": entry["VersionId"]}
            for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
        ]
        if not chunk:
            return
        yield chunk
