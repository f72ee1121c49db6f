"""Run one worker process for each EC2 instance of the fleet that is running in the emulator."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aws.clients import cloud_errors
from aws.fleet import OWNER_TAG
from core.errors import CloudError
from local_cloud.log_files import INSTANCE_FOLDER
from local_cloud.processes import Process, spawn

log = logging.getLogger(__name__)

# EC2 tags each instance with the launch template that it was launched from.
TEMPLATE_TAG = "aws:ec2launchtemplate:id"


@dataclass(frozen=True, slots=True)
class EmulatedInstance:
    """An instance in the emulator that is pending or running."""

    instance_id: str
    name: str
    launched_at: float
    tags: Mapping[str, str] = field(default_factory=dict)


class Machines(Protocol):
    """The calls of the emulated EC2 that the supervisor needs."""

    def running(self) -> list[EmulatedInstance]: ...
    def terminate(self, instance_ids: list[str]) -> None: ...


class EmulatedMachines:
    """The pending and running instances of one fleet: with its owner tag, launched from its launch template.

    On EC2, too, only these have the program, from the template's image.  Any other instance of the emulator is the
    affair of the client that launched it.
    """

    def __init__(self, client: Any, fleet_name: str, launch_template_name: str) -> None:
        self._client = client
        self._fleet_name = fleet_name
        self._template_name = launch_template_name
        self._template_id = ""

    def running(self) -> list[EmulatedInstance]:
        """Lists the instances that should have a worker.

        Raises:
            CloudError: the emulator did not answer.
        """
        with cloud_errors("describing instances"):
            filters = [
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
                {"Name": f"tag:{OWNER_TAG}", "Values": [self._fleet_name]},
                {"Name": f"tag:{TEMPLATE_TAG}", "Values": [self._find_template()]},
            ]
            return [
                _instance(entry)
                for page in self._client.get_paginator("describe_instances").paginate(Filters=filters)
                for reservation in page["Reservations"]
                for entry in reservation["Instances"]
            ]

    def terminate(self, instance_ids: list[str]) -> None:
        """Terminates instances, as if they had shut themselves down.

        Raises:
            CloudError: the emulator did not answer.
        """
        with cloud_errors("terminating instances"):
            self._client.terminate_instances(InstanceIds=instance_ids)

    def _find_template(self) -> str:
        if not self._template_id:
            found = self._client.describe_launch_templates(LaunchTemplateNames=[self._template_name])
            self._template_id = found["LaunchTemplates"][0]["LaunchTemplateId"]
        return self._template_id


def _instance(entry: dict[str, Any]) -> EmulatedInstance:
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
    return EmulatedInstance(entry["InstanceId"], tags.get("Name", ""), entry["LaunchTime"].timestamp(), tags)


class Supervisor:
    """Starts and stops worker processes so that they match the emulator's instances.

    Args:
        start: starts the worker of an instance.
        boot_seconds: simulated time from launch to the worker's start.
        grace_seconds: time from SIGTERM to SIGKILL.
        clock: seconds since the epoch, as launch times.
        never_boots: the number of first instances that never start a worker, as with a broken disk.
    """

    def __init__(
        self,
        machines: Machines,
        start: Callable[[EmulatedInstance], Process],
        boot_seconds: float,
        grace_seconds: float,
        clock: Callable[[], float] = time.time,
        never_boots: int = 0,
    ) -> None:
        self._machines = machines
        self._start = start
        self._boot_seconds = boot_seconds
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._never_boots = never_boots
        self._unbootable: set[str] = set()
        self._workers: dict[str, Process] = {}
        self._leaving: dict[str, tuple[Process, float]] = {}

    def reconcile(self) -> None:
        """Runs one pass; if the emulator does not answer, nothing is changed."""
        now = self._clock()
        self._reap(now)
        try:
            instances = {instance.instance_id: instance for instance in self._machines.running()}
            self._terminate_exited(instances)
        except CloudError as error:
            log.warning("%s", error)
            return
        for instance_id in self._workers.keys() - instances.keys():
            log.info("%s was terminated, stopping its worker", instance_id)
            process = self._workers.pop(instance_id)
            process.terminate()
            self._leaving[instance_id] = (process, now + self._grace_seconds)
        for instance in instances.values():
            if instance.instance_id in self._workers or self._is_unbootable(instance):
                continue
            if now >= instance.launched_at + self._boot_seconds:
                log.info("%s (%s) has booted, starting its worker", instance.instance_id, instance.name)
                self._workers[instance.instance_id] = self._start(instance)

    def shut_down(self) -> list[Process]:
        """Returns all worker processes, for the caller to stop, and supervises none of them any more."""
        processes = [*self._workers.values(), *(process for process, _ in self._leaving.values())]
        self._workers.clear()
        self._leaving.clear()
        return processes

    def _is_unbootable(self, instance: EmulatedInstance) -> bool:
        """Whether this instance is one of those that never boot."""
        if instance.instance_id not in self._unbootable and len(self._unbootable) < self._never_boots:
            log.info("%s (%s) will never boot", instance.instance_id, instance.name)
            self._unbootable.add(instance.instance_id)
        return instance.instance_id in self._unbootable

    def _terminate_exited(self, instances: dict[str, EmulatedInstance]) -> None:
        """Terminates the instances whose worker has exited, as the launch template's shutdown behaviour does."""
        exited = [instance_id for instance_id, process in self._workers.items() if process.poll() is not None]
        if exited:
            for instance_id in exited:
                log.info("the worker of %s ended with status %s", instance_id, self._workers[instance_id].poll())
            self._machines.terminate([instance_id for instance_id in exited if instance_id in instances])
            for instance_id in exited:
                del self._workers[instance_id]
                instances.pop(instance_id, None)

    def _reap(self, now: float) -> None:
        for instance_id, (process, deadline) in list(self._leaving.items()):
            if process.poll() is not None:
                del self._leaving[instance_id]
            elif now >= deadline:
                log.warning("the worker of %s did not stop in time, killing it", instance_id)
                process.kill()
                process.poll()


def start_worker(
    instance: EmulatedInstance, command: list[str], environment: dict[str, str], log_directory: Path, root: Path
) -> subprocess.Popen[str]:
    """Starts the worker process of `instance`, with its own log file."""
    label = f"{instance.name}-{instance.instance_id}" if instance.name else instance.instance_id
    launched = datetime.fromtimestamp(instance.launched_at, UTC)
    path = log_directory / INSTANCE_FOLDER / f"{launched:%H%M%S}-{label}.log"
    return spawn(command, environment, path, root)
