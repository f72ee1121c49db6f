"""The app tier's fleet on EC2."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aws.clients import cloud_errors
from aws.ec2_fleet_launch import Launch, Launcher, LaunchRequest
from core.errors import NotFoundError
from core.releases import FIRST, Release

OWNER_TAG = "elastic:fleet"
NAME_PREFIX = "app-tier-"  # unless the settings name another


@dataclass(frozen=True, slots=True)
class Instance:
    """A pending or running instance of the fleet; `name` is empty until it has been named.

    `release` is the number of the release that it was launched with.
    """

    instance_id: str
    name: str
    state: str
    launched_at: datetime
    release: int = 0


class Fleet:
    """Describe, launch, name and terminate the fleet's instances: those with the owner tag.

    Every method raises `CloudError` where EC2 fails after botocore's retries.

    Args:
        instance_types: EC2 chooses among these; empty: the launch template's.
        subnet_ids: likewise.
        spot: request spot capacity first.
        name_prefix: what the names of instances begin with; see `name`.
    """

    def __init__(
        self,
        client: Any,
        launch_template_name: str,
        fleet_name: str,
        instance_types: Sequence[str] = (),
        subnet_ids: Sequence[str] = (),
        *,
        spot: bool = False,
        name_prefix: str = NAME_PREFIX,
    ) -> None:
        self._client = client
        self._name_prefix = name_prefix
        self._fleet_name = fleet_name
        self._launcher = Launcher(
            client,
            LaunchRequest(
                launch_template_name,
                tuple(instance_types),
                tuple(subnet_ids),
                tags={OWNER_TAG: fleet_name},
                spot=spot,
            ),
        )

    def describe(self) -> list[Instance]:
        """List the fleet's pending and running instances, oldest first."""
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
                                entry["InstanceId"],
                                tags.get("Name", ""),
                                entry["State"]["Name"],
                                entry["LaunchTime"],
                                Release.number_of(tags),
                            )
                        )
        return sorted(found, key=lambda instance: (instance.launched_at, instance.instance_id))

    def ended(self, instance_ids: Sequence[str]) -> set[str]:
        """Return those of the instances that EC2 reports as ending or ended; it may not report new ones yet."""
        filters = [
            {"Name": "instance-id", "Values": list(instance_ids)},
            {"Name": "instance-state-name", "Values": ["shutting-down", "terminated", "stopping", "stopped"]},
        ]
        with cloud_errors("describing launched instances"):
            pages = self._client.get_paginator("describe_instances").paginate(Filters=filters)
            return {
                entry["InstanceId"]
                for page in pages
                for reservation in page["Reservations"]
                for entry in reservation["Instances"]
            }

    def launch(self, count: int, client_token: str, release: Release = FIRST) -> Launch:
        """Launch up to `count` instances of a release; a repeated call with the same token launches no more.

        Raises:
            CloudError: it is unknown which instances were launched; call again with the same token.
        """
        return self._launcher.launch(count, client_token, release)

    def name(self, instance_ids: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
        """Name instances with the lowest numbers that are free; return the names by id.

        The name of an instance that EC2 does not find (yet) is returned but not stored.

        Args:
            taken: the names that the fleet's other instances have.
        """
        given = dict(zip(instance_ids, free_names(taken, len(instance_ids), self._name_prefix), strict=True))
        for instance_id, name in given.items():
            with contextlib.suppress(NotFoundError), cloud_errors("naming an instance"):
                self._client.create_tags(Resources=[instance_id], Tags=[{"Key": "Name", "Value": name}])
        return given

    def terminate(self, instance_ids: Sequence[str]) -> None:
        """Terminate instances; one that no longer exists is no error."""
        if not instance_ids:
            return
        try:
            self._terminate(list(instance_ids))
        except NotFoundError:
            # EC2 refuses the whole request if it no longer finds one id: repeat it for each id.
            for instance_id in instance_ids:
                with contextlib.suppress(NotFoundError):
                    self._terminate([instance_id])

    def _terminate(self, instance_ids: list[str]) -> None:
        with cloud_errors("terminating instances"):
            self._client.terminate_instances(InstanceIds=instance_ids)


def free_names(taken: Sequence[str], count: int, prefix: str = NAME_PREFIX) -> list[str]:
    """The `count` names with the lowest numbers, from 1 on, that are not `taken`."""
    candidates = (f"{prefix}{number}" for number in range(1, len(taken) + count + 1))
    return [name for name in candidates if name not in taken][:count]
