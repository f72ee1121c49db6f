"""Machine images on EC2: create them from builders, list them, and delete them with their snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aws.builders import POLL_SECONDS, ImageBuildError, as_tags, resolve_image
from aws.clients import cloud_errors
from core.errors import NotFoundError

IMAGE_TAG = "elastic:image"
_TAG_PREFIX = "elastic:"


@dataclass(frozen=True, slots=True)
class MachineImage:
    """A machine image of this program; `tags` without the prefix ``elastic:``."""

    image_id: str
    name: str
    state: str
    created_at: datetime
    snapshot_ids: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class Images:
    """Create, list and delete machine images.

    Every method raises `CloudError` where a service fails after botocore's retries.

    Args:
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        ec2: Any,
        ssm: Any,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ec2 = ec2
        self._ssm = ssm
        self._clock = clock
        self._sleep = sleep

    def create(self, instance_id: str, name: str, tags: Mapping[str, str]) -> str:
        """Begin to create an image of a stopped builder, with these `tags`; return its id."""
        image_tags = as_tags(
            {"Name": name, IMAGE_TAG: name, **{f"{_TAG_PREFIX}{key}": value for key, value in tags.items()}}
        )
        with cloud_errors("creating the image"):
            image_id: str = self._ec2.create_image(
                InstanceId=instance_id,
                Name=name,
                Description="app tier of the Elastic Image Classifier",
                TagSpecifications=[{"ResourceType": "image", "Tags": image_tags}],
            )["ImageId"]
            return image_id

    def wait_until_available(self, image_id: str, timeout_seconds: float) -> MachineImage:
        """Wait until instances can be launched from an image.

        Raises:
            ImageBuildError: EC2 could not create it, or not in time.
        """
        deadline = self._clock() + timeout_seconds
        while True:
            image = self._describe_new(image_id)
            if image is not None and image.state == "available":
                return image
            if image is not None and image.state != "pending":
                raise ImageBuildError(f"EC2 could not make the image: its state is {image.state}")
            if self._clock() > deadline:
                raise ImageBuildError(f"EC2 has not made the image in {timeout_seconds:g} s")
            self._sleep(POLL_SECONDS)

    def label_snapshots(self, image: MachineImage) -> None:
        """Tag an image's snapshots with its name and tags, so that a list of snapshots shows their image."""
        snapshot_tags = {"Name": image.name, **{f"{_TAG_PREFIX}{key}": value for key, value in image.tags.items()}}
        if image.snapshot_ids:
            with cloud_errors(f"tagging the snapshots of {image.name}"):
                self._ec2.create_tags(Resources=list(image.snapshot_ids), Tags=as_tags(snapshot_tags))

    def describe(self, image_id: str) -> MachineImage:
        """Describe an image."""
        with cloud_errors(f"describing the image {image_id}"):
            found = self._ec2.describe_images(ImageIds=[image_id])["Images"]
        if not found:
            raise NotFoundError(f"there is no image {image_id}")
        return _image(found[0])

    def list(self) -> list[MachineImage]:
        """List this program's images, newest first."""
        with cloud_errors("listing images"):
            pages = self._ec2.get_paginator("describe_images").paginate(
                Owners=["self"], Filters=[{"Name": "tag-key", "Values": [IMAGE_TAG]}]
            )
            found = [_image(entry) for page in pages for entry in page["Images"]]
        return sorted(found, key=lambda image: (image.created_at, image.name), reverse=True)

    def in_use_by(self, launch_template_name: str) -> str | None:
        """The id of the image in the launch template's default version; None if there is no such template.

        A parameter in the template is resolved to the id that it holds.
        """
        try:
            with cloud_errors(f"describing the launch template {launch_template_name}"):
                (version,) = self._ec2.describe_launch_template_versions(
                    LaunchTemplateName=launch_template_name, Versions=["$Default"]
                )["LaunchTemplateVersions"]
        except NotFoundError:
            return None
        named: str | None = version["LaunchTemplateData"].get("ImageId")
        return resolve_image(self._ssm, named.removeprefix("resolve:ssm:")) if named else None

    def in_use_elsewhere(self, launch_template_name: str) -> set[str]:
        """The ids of the images in the default versions of all launch templates but this one."""
        with cloud_errors("listing launch templates"):
            # The largest pages that EC2 has: moto gives one page only, of 15 unless more are asked for.
            pages = self._ec2.get_paginator("describe_launch_templates").paginate(MaxResults=200)
            names = [entry["LaunchTemplateName"] for page in pages for entry in page["LaunchTemplates"]]
        return {found for name in names if name != launch_template_name and (found := self.in_use_by(name))}

    def delete(self, image: MachineImage) -> None:
        """Deregister an image and delete its snapshots; running instances keep their own volumes."""
        with cloud_errors(f"deleting the image {image.name}"):
            self._ec2.deregister_image(ImageId=image.image_id)
            for snapshot_id in image.snapshot_ids:
                self._ec2.delete_snapshot(SnapshotId=snapshot_id)

    def _describe_new(self, image_id: str) -> MachineImage | None:
        """Describe an image; None while EC2 does not list the new image yet."""
        try:
            return self.describe(image_id)
        except NotFoundError:
            return None


def _image(entry: dict[str, Any]) -> MachineImage:
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
    return MachineImage(
        image_id=entry["ImageId"],
        name=tags.get(IMAGE_TAG, entry.get("Name", "")),
        state=entry["State"],
        created_at=datetime.fromisoformat(entry["CreationDate"]).astimezone(UTC),
        snapshot_ids=tuple(
            mapping["Ebs"]["SnapshotId"]
            for mapping in entry.get("BlockDeviceMappings", [])
            if "SnapshotId" in mapping.get("Ebs", {})
        ),
        tags={key.removeprefix(_TAG_PREFIX): value for key, value in tags.items() if key.startswith(_TAG_PREFIX)},
    )
