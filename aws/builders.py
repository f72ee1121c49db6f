"""Builders: EC2 instances from which machine images are made, and scripts run on them by Systems Manager."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import cloud_errors
from core.errors import CloudError, NotFoundError

# A builder carries another tag than the fleet's instances, so that the controller does not count it.
BUILDER_TAG = "elastic:image-builder"
POLL_SECONDS = 2.0
# States of a command that has not ended.
_UNFINISHED = frozenset(("Pending", "InProgress", "Delayed", "Cancelling"))
# The size of Debian's images, for a base image that does not declare its own.
_ROOT_GIB = 8
_SHELL_DOCUMENT = "AWS-RunShellScript"


class ImageBuildError(CloudError):
    """The machine image could not be built."""


@dataclass(frozen=True, slots=True)
class Builder:
    """The launch parameters of a builder; empty ones are left to EC2's defaults."""

    base_image_id: str
    instance_type: str
    instance_profile: str
    user_data: str
    subnet_id: str = ""
    security_group_ids: tuple[str, ...] = ()


class Builders:
    """Launch and terminate builders, and run scripts on them.

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

    def resolve(self, base: str) -> str:
        """Resolve the id of the base image; see `resolve_image`."""
        return resolve_image(self._ssm, base)

    def launch(self, builder: Builder, name: str) -> str:
        """Launch a builder with an encrypted root volume; return its id."""
        network: dict[str, Any] = {}
        if builder.subnet_id:
            network["SubnetId"] = builder.subnet_id
        if builder.security_group_ids:
            network["SecurityGroupIds"] = list(builder.security_group_ids)
        with cloud_errors("launching the builder"):
            (base,) = self._ec2.describe_images(ImageIds=[builder.base_image_id])["Images"]
            launched = self._ec2.run_instances(
                ImageId=builder.base_image_id,
                InstanceType=builder.instance_type,
                MinCount=1,
                MaxCount=1,
                IamInstanceProfile={"Name": builder.instance_profile},
                UserData=builder.user_data,
                # The builder shuts itself down, and must remain until the image is made from it.
                InstanceInitiatedShutdownBehavior="stop",
                MetadataOptions={"HttpTokens": "required"},
                BlockDeviceMappings=[_root_volume(base)],
                TagSpecifications=[
                    {"ResourceType": kind, "Tags": as_tags({"Name": f"builder of {name}", BUILDER_TAG: name})}
                    for kind in ("instance", "volume")
                ],
                **network,
            )
            instance_id: str = launched["Instances"][0]["InstanceId"]
            return instance_id

    def terminate(self, instance_id: str) -> None:
        """Terminate a builder."""
        with cloud_errors("terminating the builder"):
            self._ec2.terminate_instances(InstanceIds=[instance_id])

    def run(self, instance_id: str, script: Sequence[str], ready_seconds: float, timeout_seconds: float) -> str:
        """Run shell lines as root on a builder; return their standard output.

        Args:
            ready_seconds: how long the instance may take to register with Systems Manager.
            timeout_seconds: how long the script may take.

        Raises:
            ImageBuildError: the instance did not register, or the script failed or took too long.
        """
        command_id = self._send(instance_id, script, ready_seconds, timeout_seconds)
        deadline = self._clock() + timeout_seconds
        while True:
            invocation = self._invocation(command_id, instance_id)
            status = invocation.get("Status", "Pending")
            if status == "Success":
                return str(invocation.get("StandardOutputContent", ""))
            if status not in _UNFINISHED:
                output = invocation.get("StandardErrorContent", "").strip() or invocation.get("StatusDetails", "")
                raise ImageBuildError(f"the builder's script ended with status {status}: {output[-1000:]}")
            self._wait(deadline, f"the builder's script takes longer than {timeout_seconds:g} s")

    def wait_until_stopped(self, instance_id: str, timeout_seconds: float) -> None:
        """Wait until a builder has shut itself down.

        Raises:
            ImageBuildError: it did not in time, or was terminated.
        """
        deadline = self._clock() + timeout_seconds
        while (state := self._state(instance_id)) != "stopped":
            if state in ("terminated", "shutting-down"):
                raise ImageBuildError("the builder was terminated from outside")
            self._wait(deadline, f"the builder has not switched itself off in {timeout_seconds:g} s")

    def _send(self, instance_id: str, script: Sequence[str], ready_seconds: float, timeout_seconds: float) -> str:
        deadline = self._clock() + ready_seconds
        while True:
            try:
                with cloud_errors("sending the builder its script"):
                    command_id: str = self._ssm.send_command(
                        InstanceIds=[instance_id],
                        DocumentName=_SHELL_DOCUMENT,
                        Parameters={"commands": list(script), "executionTimeout": [str(round(timeout_seconds))]},
                    )["Command"]["CommandId"]
                    return command_id
            except CloudError as error:
                # The code for an instance that has not registered with Systems Manager yet.
                if not is_code(error, "InvalidInstanceId"):
                    raise
                if state := self._ended(instance_id):
                    raise ImageBuildError(f"the builder is {state}") from error
            self._wait(deadline, f"the builder has not reported to Systems Manager in {ready_seconds:g} s")

    def _invocation(self, command_id: str, instance_id: str) -> dict[str, Any]:
        try:
            with cloud_errors("reading the output of the builder's script"):
                invocation: dict[str, Any] = self._ssm.get_command_invocation(
                    CommandId=command_id, InstanceId=instance_id
                )
                return invocation
        except CloudError as error:
            if is_code(error, "InvocationDoesNotExist"):  # the invocation becomes visible a moment after the command
                return {}
            raise

    def _state(self, instance_id: str) -> str:
        with cloud_errors("describing the builder"):
            (reservation,) = self._ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
            state: str = reservation["Instances"][0]["State"]["Name"]
            return state

    def _ended(self, instance_id: str) -> str | None:
        try:
            state = self._state(instance_id)
        except NotFoundError:  # EC2 describes a new instance only after a moment
            return None
        return None if state in ("pending", "running") else state

    def _wait(self, deadline: float, sentence: str) -> None:
        if self._clock() > deadline:
            raise ImageBuildError(sentence)
        self._sleep(POLL_SECONDS)


def resolve_image(ssm: Any, base: str) -> str:
    """Resolve an image, given by its id or by a parameter (beginning with ``/``) that holds it, to its id.

    Raises:
        CloudError: there is no such parameter.
    """
    if not base.startswith("/"):
        return base
    with cloud_errors(f"looking up the parameter {base}"):
        image_id: str = ssm.get_parameter(Name=base)["Parameter"]["Value"]
        return image_id


def as_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Convert tags to EC2's form."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _root_volume(base: dict[str, Any]) -> dict[str, Any]:
    """The base image's root volume in the same size but encrypted, so that the image made from it is encrypted."""
    device = base["RootDeviceName"]
    sizes = [
        mapping["Ebs"]["VolumeSize"]
        for mapping in base.get("BlockDeviceMappings", [])
        if mapping.get("DeviceName") == device and "VolumeSize" in mapping.get("Ebs", {})
    ]
    volume = {"VolumeSize": next(iter(sizes), _ROOT_GIB), "VolumeType": "gp3"}
    return {"DeviceName": device, "Ebs": {**volume, "Encrypted": True, "DeleteOnTermination": True}}


def is_code(error: CloudError, *codes: str) -> bool:
    """Whether the service's code for `error` is one of these."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") in codes
