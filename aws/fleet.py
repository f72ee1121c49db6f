"""The app tier's fleet on EC2."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aws.clients import cloud_errors
from core.errors import NotFoundError

OWNER_TAG = "elastic:fleet"
NAME_PREFIX = "app-tier-"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of ours that is pending or running."""

    instance_id: str
    name: str
    state: str
    launched_at: datetime


class Fleet:
    """Describes, launches and terminates our own instances: those that carry the owner tag.

    Every method raises `CloudError` where EC2 fails after botocore's retries.
    """

    def __init__(self, client: Any, launch_template_name: str, fleet_name: str) -> None:
        self._client = client
        self._launch_template_name = launch_template_name
        self._fleet_name = fleet_name

    def describe(self) -> list[Instance]:
        """Our pending and running instances, oldest first; never the account's others."""
        filters = [
            {"Name": f"tag:{OWNER_TAG}", "Values": [self._fleet_name]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        found = []
        with cloud_errors("describing the fleet"):
            for page in self._client.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    for entry in reservation["Instances"]:
                        tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
                        found.append(
                            Instance(
                                entry["InstanceId"], tags.get("Name", ""), entry["State"]["Name"], entry["LaunchTime"]
                            )
                        )
        return sorted(found, key=lambda instance: (instance.launched_at, instance.instance_id))

    def launch(self, count: int, existing: Sequence[Instance]) -> list[str]:
        """Launches up to `count` instances, each named with the lowest free number; returns their ids.

        EC2 launches as many as it has capacity for, at least one of each request.
        """
        taken = {instance.name for instance in existing}
        free = (name for number in range(1, len(taken) + count + 1) if (name := f"{NAME_PREFIX}{number}") not in taken)
        with cloud_errors("launching instances"):
            response = self._client.run_instances(
                LaunchTemplate={"LaunchTemplateName": self._launch_template_name},
                MinCount=1,
                MaxCount=count,
                TagSpecifications=[
                    {"ResourceType": "instance", "Tags": [{"Key": OWNER_TAG, "Value": self._fleet_name}]}
                ],
            )
            launched = [entry["InstanceId"] for entry in response["Instances"]]
            for instance_id, name in zip(launched, free, strict=False):
                self._client.create_tags(Resources=[instance_id], Tags=[{"Key": "Name", "Value": name}])
        return launched

    def terminate(self, instance_ids: Sequence[str]) -> None:
        """Terminates instances; one that is gone already is no error."""
        if not instance_ids:
            return
        try:
            self._terminate(list(instance_ids))
        except NotFoundError:
            # EC2 refuses the whole request for one id that it has forgotten: each for itself, then.
            for instance_id in instance_ids:
                with contextlib.suppress(NotFoundError):
                    self._terminate([instance_id])

    def _terminate(self, instance_ids: list[str]) -> None:
        with cloud_errors("terminating instances"):
            self._client.terminate_instances(InstanceIds=instance_ids)
