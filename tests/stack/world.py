"""An emulated AWS account with a stack, and the real tiers running on the stack's resources."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import requests

from ami.variables import instance_variables, read_variables
from aws.clients import Clients
from aws.metadata import ENDPOINT_VARIABLE, InstanceMetadata
from core.paths import REPOSITORY_ROOT
from infra.simple import CERTIFICATE_KEY
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.emulator import create_server
from local_cloud.metadata_service import MetadataService
from local_cloud.processes import spawn, stop_all
from local_cloud.stack import LOCAL_SETTINGS
from local_cloud.supervisor import EmulatedInstance, EmulatedMachines, Supervisor, start_worker
from tests.stack import gaps
from tests.stack.guard import Guard, role_statements
from tests.waiting import PATIENCE_SECONDS

SUPERVISE_SECONDS = 0.25
ROLES = {"web": "WebRole", "controller": "ControllerRole", "worker": "WorkerRole"}
# In the simple deployment web tier and controller share an instance and its role.
SIMPLE_ROLES = {"machine": "MachineRole", "worker": "WorkerRole"}
# Settings of speed only; those that name resources come from the stack alone.
PACE = {
    f"EIC_{name.upper()}": str(value) for name, value in LOCAL_SETTINGS.items() if name not in ("model_bundle",)
} | {"EIC_JANITOR_INTERVAL_SECONDS": "2"}


class Account:
    """An emulated account before any stack; the environment names it until `close`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        gaps.install()
        warnings.filterwarnings("ignore", message="Tried to parse|Unable to delete|Exception", category=UserWarning)
        self._server = create_server(0)
        self.guard = Guard(self._server.app)
        self._server.app = self.guard
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint_url = f"http://127.0.0.1:{self._server.port}"
        self._reset()  # moto keeps its state in the process, also that of an earlier account
        for name in [name for name in os.environ if name.startswith(("EIC_", "AWS_"))]:
            patch.delenv(name)
        environment = {**LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint_url}
        for name, value in environment.items():
            patch.setenv(name, value)
        # A key of its own, so that the guard can distinguish the test's requests from those of commands.
        self.clients = Clients(max_attempts=2, environment={**environment, "AWS_ACCESS_KEY_ID": "test"})
        self.image_id: str = self.clients["ec2"].register_image(Name="image", RootDeviceName="/dev/xvda")["ImageId"]
        self.certificate_arn: str = self.clients["acm"].request_certificate(DomainName="photos.example.org")[
            "CertificateArn"
        ]

    def close(self) -> None:
        """Stops the emulator, and closes the files in which moto keeps objects."""
        self._reset()
        self._server.shutdown()
        self._server.server_close()

    def _reset(self) -> None:
        requests.post(f"{self.endpoint_url}/moto-api/reset", timeout=PATIENCE_SECONDS).raise_for_status()

    def parameters(self, **others: str) -> list[str]:
        """The options of `elastic deploy` that a stack needs."""
        values = {
            "DomainName": "photos.example.org",
            "CertificateArn": self.certificate_arn,
            "ClientCidr": "198.51.100.0/24",
            "WorkerImageId": self.image_id,
            "BaseImageId": self.image_id,
            "AlarmEmail": "alice@example.org",
            **others,
        }
        return [text for key, value in values.items() for text in ("--parameter", f"{key}={value}")]

    def simple_parameters(self, **others: str) -> list[str]:
        """The options of `elastic deploy --simple` that a stack needs here."""
        values = {"BaseImageId": self.image_id, **others}
        options = ["--simple", "--no-wait", "--allow", "198.51.100.0/24"]
        return [*options, *(text for key, value in values.items() for text in ("--parameter", f"{key}={value}"))]

    def user_data(self, template_name: str) -> str:
        """The user data of a launch template's default version."""
        (version,) = self.clients["ec2"].describe_launch_template_versions(
            LaunchTemplateName=template_name, Versions=["$Default"]
        )["LaunchTemplateVersions"]
        return base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()

    def images(self) -> list[str]:
        """The account's images with their snapshots."""
        ec2 = self.clients["ec2"]
        snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        found = [entry["ImageId"] for entry in ec2.describe_images(Owners=["self"])["Images"]]
        return sorted([*found, *(entry["SnapshotId"] for entry in snapshots if "elastic" in str(entry.get("Tags")))])

    def left(self) -> dict[str, list[str]]:
        """All resources that a stack could leave behind and that cost money or obstruct the next stack."""
        ec2, elbv2, iam = (self.clients[service] for service in ("ec2", "elbv2", "iam"))
        found = {
            "buckets": [entry["Name"] for entry in self.clients["s3"].list_buckets()["Buckets"]],
            "queues": self.clients["sqs"].list_queues().get("QueueUrls", []),
            "instances": [
                entry["InstanceId"]
                for reservation in ec2.describe_instances()["Reservations"]
                for entry in reservation["Instances"]
                if entry["State"]["Name"] != "terminated"
            ],
            "templates": [entry["LaunchTemplateName"] for entry in ec2.describe_launch_templates()["LaunchTemplates"]],
            "groups": [
                entry["AutoScalingGroupName"]
                for entry in self.clients["autoscaling"].describe_auto_scaling_groups()["AutoScalingGroups"]
            ],
            "networks": [entry["VpcId"] for entry in ec2.describe_vpcs()["Vpcs"] if not entry["IsDefault"]],
            "gateways": [
                entry["NatGatewayId"]
                for entry in ec2.describe_nat_gateways()["NatGateways"]
                if entry["State"] != "deleted"
            ],
            "addresses": [entry["AllocationId"] for entry in ec2.describe_addresses()["Addresses"]],
            "endpoints": [
                entry["VpcEndpointId"]
                for entry in ec2.describe_vpc_endpoints()["VpcEndpoints"]
                if entry["State"] != "deleted"
            ],
            "balancers": [entry["LoadBalancerName"] for entry in elbv2.describe_load_balancers()["LoadBalancers"]],
            "targets": [entry["TargetGroupName"] for entry in elbv2.describe_target_groups()["TargetGroups"]],
            "roles": [entry["RoleName"] for entry in iam.list_roles()["Roles"]],
            "profiles": [entry["InstanceProfileName"] for entry in iam.list_instance_profiles()["InstanceProfiles"]],
            "logs": [entry["logGroupName"] for entry in self.clients["logs"].describe_log_groups()["logGroups"]],
            "topics": [entry["TopicArn"] for entry in self.clients["sns"].list_topics()["Topics"]],
            "dashboards": [
                entry["DashboardName"] for entry in self.clients["cloudwatch"].list_dashboards()["DashboardEntries"]
            ],
        }
        return {kind: names for kind, names in found.items() if names}


class Tiers:
    """Web tier, controller and workers as processes, each with its instance's user data and its role's permissions.

    Args:
        pace: settings that shorten intervals and timeouts, also those that the stack itself sets.
        address: of the simple deployment's instance, whose web tier ends TLS; empty: the other deployment.
        roles: whether the stack has made roles; without, requests are not restricted.
    """

    def __init__(
        self,
        account: Account,
        stack_name: str,
        logs: Path,
        pace: Mapping[str, str] = MappingProxyType(PACE),
        *,
        address: str = "",
        roles: bool = True,
    ) -> None:
        self._pace, self._address = pace, address
        self._roles = (SIMPLE_ROLES if address else ROLES) if roles else {}
        self.certificate = logs / "tls.pem"
        self._account, self._name, self._logs = account, stack_name, logs
        self._metadata = MetadataService()
        self._processes: list[subprocess.Popen[str]] = []
        self._stop = threading.Event()
        self._supervisor = Supervisor(
            EmulatedMachines(account.clients["ec2"], stack_name, f"{stack_name}-worker"),
            self._start_worker,
            0.0,
            grace_seconds=10.0,
        )
        self._watch = threading.Thread(target=self._supervise, daemon=True)
        self.url = ""

    def start(self) -> None:
        """Starts all tiers; returns when the web tier answers."""
        iam = self._account.clients["iam"]
        for role in iam.list_roles()["Roles"]:
            for key, logical_id in self._roles.items():
                if role["RoleName"].startswith(f"{self._name}-{logical_id}-"):
                    self._account.guard.policies[key] = list(role_statements(iam, role["RoleName"]))
        assert self._account.guard.policies.keys() == self._roles.keys()
        with socket.socket() as listener:
            # The emulator's elastic addresses are loopback's: all of 127.0.0.0/8 is.
            host = self._address or "127.0.0.1"
            listener.bind((host, 0))
            listener.listen(128)
            self.url = f"{'https' if self._address else 'http'}://{host}:{listener.getsockname()[1]}"
            gunicorn = ["-m", "gunicorn", "--config", "python:web_tier.gunicorn_config"]
            bind = ["--bind", f"fd://{listener.fileno()}", "web_tier.wsgi:app"]
            self._spawn("web", [sys.executable, *gunicorn, *bind], self._tls(), pass_fds=(listener.fileno(),))
        self._spawn("controller", [sys.executable, "-m", "controller"])
        self._watch.start()
        deadline = time.monotonic() + 60
        while True:
            running = time.monotonic() < deadline and all(process.poll() is None for process in self._processes)
            assert running, f"web tier or controller do not start; see {self._logs}"
            try:
                trusted = str(self.certificate) if self._address else True
                if requests.get(f"{self.url}/healthz", timeout=2, verify=trusted).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)

    def stop(self) -> None:
        """Stops all processes; may be repeated."""
        stop_all(self._processes, 15)
        self._processes.clear()
        self._stop.set()
        if self._watch.is_alive():
            self._watch.join()
        stop_all(self._supervisor.shut_down(), 15)
        self._metadata.close()

    def _environment(self, key: str, variables: dict[str, str]) -> dict[str, str]:
        # As on EC2, each instance has its own credentials; the stack's settings override the pace, except for those
        # with which the simple deployment saves requests.
        slowed = self._pace if self._address else {}
        return {**os.environ, **self._pace, **variables, **slowed, "AWS_ACCESS_KEY_ID": key}

    def _spawn(
        self, tier: str, command: list[str], more: Mapping[str, str] = MappingProxyType({}), **options: Any
    ) -> None:
        instance = "machine" if self._address else tier
        variables = read_variables(settings_file(self._account.user_data(f"{self._name}-{instance}")))
        environment = {**self._environment(instance, variables), **more}
        self._processes.append(spawn(command, environment, self._logs / f"{tier}.log", REPOSITORY_ROOT, **options))

    def _tls(self) -> dict[str, str]:
        """The variable with which infra/machine/tls.conf starts gunicorn; fetches the file, as the user data does."""
        if not self._address:
            return {}
        variables = read_variables(settings_file(self._account.user_data(f"{self._name}-machine")))
        self.certificate.parent.mkdir(parents=True, exist_ok=True)
        self._account.clients["s3"].download_file(variables["EIC_STATE_BUCKET"], CERTIFICATE_KEY, str(self.certificate))
        unit = (REPOSITORY_ROOT / "infra" / "machine" / "tls.conf").read_text("utf-8")
        [(name, value)] = re.findall(r'^Environment="(\w+)=(.*)"$', unit, re.MULTILINE)
        assert "/etc/elastic/tls.pem" in value
        return {name: value.replace("/etc/elastic/tls.pem", str(self.certificate))}

    def _start_worker(self, instance: EmulatedInstance) -> subprocess.Popen[str]:
        endpoint = {ENDPOINT_VARIABLE: self._metadata.endpoint(instance.instance_id)}
        self._metadata.set_user_data(instance.instance_id, self._account.user_data(f"{self._name}-worker"))
        self._metadata.set_tags(instance.instance_id, instance.tags)
        variables = instance_variables(InstanceMetadata(endpoint), endpoint)
        environment = self._environment("worker", {**variables, **endpoint})
        return start_worker(instance, [sys.executable, "-m", "app_tier"], environment, self._logs, REPOSITORY_ROOT)

    def _supervise(self) -> None:
        while not self._stop.wait(SUPERVISE_SECONDS):
            self._supervisor.reconcile()


def settings_file(user_data: str) -> str:
    """The content of ``/etc/elastic/settings.env`` that the web tier's or the controller's user data writes."""
    return user_data.partition("settings.env <<'END'\n")[2].partition("\nEND\n")[0]
