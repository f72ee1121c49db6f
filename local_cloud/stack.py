"""Run the whole program on one machine: embedded cloud, web tier and controller, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from core.errors import CloudError, ElasticError
from core.fleet_status import KEY as STATUS_KEY
from core.paths import REPOSITORY_ROOT, state_folder
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.log_files import DEFAULT_LOG_LIMITS, LogLimits
from local_cloud.processes import spawn, stop_all

START_TIMEOUT_SECONDS = 60.0
_HOST = "127.0.0.1"
_BACKLOG = 128

# Settings that differ from those of a fleet on EC2: instances boot at once and cost nothing, but all share the
# machine's cores, so that each uses one, and more than a few do not help.
LOCAL_SETTINGS: dict[str, Any] = {
    "target_latency_seconds": 4.0,
    "model_bundle": str(REPOSITORY_ROOT / Settings().model_bundle),
    "model_cache": str(REPOSITORY_ROOT / "var" / "cache"),
    "receive_wait_seconds": 2,
    "interpreters": 1,
    "io_threads": 4,
    "controller_interval_seconds": 0.5,
    "boot_payback": 0.0,
    "scale_in_stabilization_seconds": 5.0,
    # On shared cores, measured service times include the other instances' load: see `measure_service`.
    "measure_service": 0,
    "expected_boot_seconds": 1.0,
    # Fifteen workers that start at once on two cores start slowly.
    "boot_grace_seconds": 30.0,
    "heartbeat_seconds": 2.0,
    "heartbeat_timeout_seconds": 20.0,
    "lease_seconds": 5.0,
    "drop_sweep_seconds": 15.0,
    "bulk_interval_seconds": 0.5,
    "status_interval_seconds": 1.0,
}


class StackError(ElasticError):
    """The local stack could not be started."""


class LocalStack:
    """A local stack on loopback, started and stopped as a context manager.

    Args:
        settings: override ``EIC_…`` variables in the environment, which override `LOCAL_SETTINGS` and the defaults.
        web_port: preferred port; a free one if 0 or in use.
        web_host: the address on which the web tier listens; one that other machines reach needs tokens.
        cloud_port: likewise.
        boot_seconds: simulated boot time of an instance.
        log_directory: where each process writes its log.
        controller: whether to start the controller.
        faults: the seed of faults to inject, or fields of `local_cloud.faults.FaultSpec`; None: no faults.
        never_boots: the number of first instances that never start a worker.
        log_limits: what the logs may take.
        variables: further environment variables of the stack's processes.
        log_by_port: write the logs into a folder below `log_directory` that is named by the web tier's port.

    Attributes:
        web_url: the web tier's address, without a trailing slash.
        endpoint_url: the embedded cloud's address.
        metadata_url: the emulated instances' metadata service, with a trailing slash.
        environment: the variables of the stack's processes: settings, endpoint and credentials.
    """

    def __init__(
        self,
        settings: dict[str, Any] | None = None,
        *,
        web_port: int = 0,
        cloud_port: int = 0,
        boot_seconds: float = 0.0,
        log_directory: Path | None = None,
        controller: bool = True,
        faults: int | dict[str, Any] | None = None,
        never_boots: int = 0,
        log_by_port: bool = False,
        web_host: str = _HOST,
        log_limits: LogLimits = DEFAULT_LOG_LIMITS,
        on_step: Callable[[str], None] = lambda step: None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        defaults = {
            **LOCAL_SETTINGS,
            "expected_boot_seconds": LOCAL_SETTINGS["expected_boot_seconds"] + boot_seconds,
            "boot_grace_seconds": LOCAL_SETTINGS["boot_grace_seconds"] + boot_seconds,
        }
        self.settings = Settings.from_environment(os.environ, defaults=defaults, overrides=settings)
        self.log_directory = log_directory or state_folder(os.environ) / "log"
        self.web_url = ""
        self.endpoint_url = ""
        self.metadata_url = ""
        self.environment: dict[str, str] = {}
        self._web_port = web_port
        self._web_host = web_host
        self._cloud_port = cloud_port
        self._boot_seconds = boot_seconds
        self._with_controller = controller
        self._faults = faults
        self._never_boots = never_boots
        self._log_by_port = log_by_port
        self._log_limits = log_limits
        self._on_step = on_step
        self._variables = variables
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> LocalStack:
        # The sockets are bound here and passed on, so that no other program can take a port in between, and so that
        # the processes know each other's address before it is served.
        with _listener(self._web_port, self._web_host) as web, _listener(self._cloud_port) as cloud:
            self.web_url, self.endpoint_url = _address(web), _address(cloud)
            if self._log_by_port:
                self.log_directory /= str(web.getsockname()[1])
            self._start(web, cloud)
        return self

    def _start(self, web: socket.socket, cloud: socket.socket) -> None:
        try:
            self._on_step("Starting the embedded cloud: S3, SQS and EC2")
            self._start_cloud(cloud)
            # Both load for more than a second, the web tier without a request, except for the key of its sessions.
            if self.settings.authentication == "off":
                self._start_web_tier(web)
                self._wait_for_cloud()
            else:
                self._wait_for_cloud()
                self._start_web_tier(web)
            if self._with_controller:
                self.start_controller()
            self._on_step("Starting the web tier")
            self._wait_for_web_tier()
            if self._with_controller:
                self._on_step("Starting the controller")
                self._wait_for_controller()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_controller(self, name: str = "controller") -> subprocess.Popen[str]:
        """Starts a controller, or another one under another `name`; returns its process."""
        return self._spawn(name, [sys.executable, "-m", "controller"])

    def stop(self) -> None:
        """Stops all processes: first those that accept or start work, then the embedded cloud."""
        for others in (True, False):
            names = [name for name in self._processes if (name != "local-cloud") == others]
            processes = [self._processes.pop(name) for name in names]
            stop_all(processes, self.settings.shutdown_grace_seconds + 5)
            for process in processes:
                if process.stdout is not None:
                    process.stdout.close()

    def failed_process(self) -> str | None:
        """The name of a process that has ended unexpectedly, or None."""
        return next((name for name, process in self._processes.items() if process.poll() is not None), None)

    def process(self, name: str) -> subprocess.Popen[str]:
        """One of the processes ``local-cloud``, ``web-tier`` and ``controller``."""
        return self._processes[name]

    def _start_cloud(self, listener: socket.socket) -> None:
        self.environment = {
            **os.environ,
            **self._variables,
            **self.settings.to_environment(),
            **LOCAL_CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }
        arguments = [
            "--listener",
            str(listener.fileno()),
            "--boot-seconds",
            str(self._boot_seconds),
            "--never-boot",
            str(self._never_boots),
            "--log-directory",
            str(self.log_directory),
            "--log-bytes",
            str(self._log_limits.max_bytes),
            "--instance-logs",
            str(self._log_limits.instance_logs),
        ]
        if self._faults is not None:
            arguments += ["--faults", json.dumps(self._faults)]
        self._spawn(
            "local-cloud",
            [sys.executable, "-m", "local_cloud", *arguments],
            stdout=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
        )

    def _wait_for_cloud(self) -> None:
        process = self._processes["local-cloud"]
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise StackError(f"the embedded cloud did not start; see {self.log_directory / 'local-cloud.log'}")
        self.metadata_url = json.loads(line)["metadata_url"]

    def _start_web_tier(self, listener: socket.socket) -> None:
        self._spawn(
            "web-tier",
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--config",
                "python:web_tier.gunicorn_config",
                "--bind",
                f"fd://{listener.fileno()}",
                "web_tier.wsgi:app",
            ],
            pass_fds=(listener.fileno(),),
        )

    def _wait_for_web_tier(self) -> None:
        import requests  # here and below: the cloud starts meanwhile

        def answers() -> bool:
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{self.web_url}/healthz", timeout=2).ok
            return False

        self._wait_for(answers, f"the web tier did not start; see {self.log_directory / 'web-tier.log'}")

    def _wait_for_controller(self) -> None:
        """Waits for the first status of the fleet: until then the fleet's page and API have nothing to show."""
        from aws.clients import Clients
        from aws.state import StateStore

        clients = Clients(max_connections=1, environment=self.environment)
        state = StateStore(clients["s3"], self.settings.state_bucket)

        def has_reported() -> bool:
            with contextlib.suppress(CloudError):
                return state.get(STATUS_KEY) is not None
            return False

        try:
            self._wait_for(has_reported, f"the controller did not start; see {self.log_directory / 'controller.log'}")
        finally:
            clients.close()

    def _wait_for(self, condition: Callable[[], bool], sentence: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self.failed_process() is None:
            if condition():
                return
            time.sleep(0.05)
        raise StackError(sentence)

    def _spawn(self, name: str, command: list[str], **options: Any) -> subprocess.Popen[str]:
        self._processes[name] = spawn(
            command, self.environment, self.log_directory / f"{name}.log", REPOSITORY_ROOT, **options
        )
        return self._processes[name]


def _listener(port: int, host: str = _HOST) -> socket.socket:
    """A socket that listens on `port`, or on a free one if that is in use."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        if port:
            return _listener(0, host)
        raise
    return listener


def _address(listener: socket.socket) -> str:
    """The address at which this machine reaches a socket, which may listen on all addresses."""
    host, port = listener.getsockname()
    return f"http://{_HOST if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - compared only
