"""``python -m local_cloud``: run the emulator with its resources and the supervisor, until SIGTERM or SIGINT.

Prints one line of JSON, ``{"endpoint_url": …, "metadata_url": …}``, on standard output when all are ready.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from core import process_setup
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from core.periodic_task import PeriodicTask
from core.settings import Settings
from local_cloud.credentials import LOCAL_CREDENTIALS
from local_cloud.log_files import DEFAULT_LOG_LIMITS, LogLimits, bound_logs
from local_cloud.processes import Process, spawn, stop_all

# Each pass costs the emulator a millisecond or two for each instance.
SUPERVISE_INTERVAL_SECONDS = 0.25
LOGS_INTERVAL_SECONDS = 10.0

log = logging.getLogger("local_cloud")


def main(arguments: list[str] | None = None) -> int:
    """Runs the embedded cloud; returns the exit status."""
    options = _parse(arguments)
    stop = process_setup.start()
    try:
        settings = Settings.from_environment(os.environ)
    except ElasticError as error:
        log.error("%s", error)
        return 1

    faults = [] if options.faults is None else ["--faults", options.faults]
    where = ["--port", str(options.port)] if options.listener is None else ["--listener", str(options.listener)]
    emulator = spawn(
        [sys.executable, "-m", "local_cloud.emulator", *where, *faults],
        emulator_environment(os.environ),
        options.log_directory / "emulator.log",
        REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        pass_fds=() if options.listener is None else (options.listener,),
    )
    if options.listener is not None:
        os.close(options.listener)  # else clients of an emulator that has ended would wait instead of failing
    # Imported while the emulator loads.
    from aws.clients import Clients
    from aws.metadata import ENDPOINT_VARIABLE
    from local_cloud.fault_control import FaultControl
    from local_cloud.metadata_service import MetadataService
    from local_cloud.resources import create_resources
    from local_cloud.supervisor import EmulatedInstance, EmulatedMachines, Supervisor, start_worker

    supervisor = None
    try:
        assert emulator.stdout is not None
        endpoint_url = emulator.stdout.readline().strip()
        if not endpoint_url:
            log.error("the emulator did not start; see %s", options.log_directory / "emulator.log")
            return 1
        environment = {**os.environ, **LOCAL_CREDENTIALS, "AWS_ENDPOINT_URL": endpoint_url}
        os.environ.update(environment)
        clients = Clients()
        # Faults concern the running program; one that persists would end the start.
        paused = FaultControl(endpoint_url).paused() if faults else contextlib.nullcontext()
        with paused:
            create_resources(clients, settings)
        metadata = MetadataService()

        def start(instance: EmulatedInstance) -> Process:
            metadata.set_tags(instance.instance_id, instance.tags)
            variables = {**environment, ENDPOINT_VARIABLE: metadata.endpoint(instance.instance_id)}
            return start_worker(
                instance, [sys.executable, "-m", "app_tier"], variables, options.log_directory, REPOSITORY_ROOT
            )

        supervisor = Supervisor(
            EmulatedMachines(clients["ec2"], settings.fleet_name, settings.launch_template_name),
            start,
            options.boot_seconds,
            settings.shutdown_grace_seconds,
            never_boots=options.never_boot,
        )
        print(json.dumps({"endpoint_url": endpoint_url, "metadata_url": metadata.endpoint("")}), flush=True)
        supervision = PeriodicTask("supervisor", SUPERVISE_INTERVAL_SECONDS, supervisor.reconcile)
        limits = LogLimits(options.log_bytes, options.instance_logs)
        PeriodicTask("logs", LOGS_INTERVAL_SECONDS, lambda: bound_logs(options.log_directory, limits)).start(stop)
        while not stop.wait(SUPERVISE_INTERVAL_SECONDS):
            supervision.run_round()
            if emulator.poll() is not None:
                log.error("the emulator ended with status %s", emulator.returncode)
                return 1
    except ElasticError as error:
        log.error("%s", error)
        return 1
    finally:
        if supervisor is not None:
            stop_all(supervisor.shut_down(), settings.shutdown_grace_seconds)
        stop_all([emulator], grace_seconds=5)
    return 0


def emulator_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The emulator's environment variables.

    It has a thread for each connection, and glibc gives threads up to eight arenas for each core, none of which returns
    its memory: the emulator grew by 46 MiB an hour at a photo a second.  Python's lock lets two do.
    """
    return {"MALLOC_ARENA_MAX": "2", **environment}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="port of the emulator on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--listener", type=int, metavar="FD", help="an inherited listening socket for the emulator, instead of a port"
    )
    parser.add_argument(
        "--boot-seconds", type=float, default=0.0, help="simulated time from an instance's launch to its worker's start"
    )
    parser.add_argument(
        "--never-boot", type=int, default=0, metavar="N", help="the first N instances never start a worker"
    )
    parser.add_argument("--faults", metavar="SEED|JSON", help="inject faults; see `python -m local_cloud.emulator -h`")
    parser.add_argument(
        "--log-directory", type=Path, default=REPOSITORY_ROOT / "var" / "log", help="folder for all logs"
    )
    parser.add_argument(
        "--log-bytes", type=int, default=DEFAULT_LOG_LIMITS.max_bytes, help="a longer log in that folder is truncated"
    )
    parser.add_argument(
        "--instance-logs", type=int, default=DEFAULT_LOG_LIMITS.instance_logs, help="how many instances' logs are kept"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
