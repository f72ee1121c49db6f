"""``python -m ami.worker_supervisor start|stop``: run and stop an instance's worker; cron starts it under `flock`.

*start* reads the worker's settings (`ENVIRONMENT_FILE`, then the instance's user data), runs the worker and waits for
its exit.  If the worker exited because it was idle, or because EC2 interrupts the instance, *start* leaves a marker
file, on which systemd powers the machine off.  *stop* terminates the worker and keeps cron from starting another;
systemd calls it at shutdown.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ami.layout import ENVIRONMENT_FILE, LOCK_FILE, RUN_DIRECTORY
from ami.variables import VariablesError, instance_variables, read_variables
from aws.metadata import InstanceMetadata, MetadataUnavailableError

# The exit status of an idle `app_tier`; a unit test compares the two.
IDLE_STATUS = 10
STOP_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.05
WORKER = (sys.executable, "-m", "app_tier")


class WorkerSupervisor:
    """Starts and stops this machine's worker.

    Args:
        directory: holds the marker files and the worker's process id; emptied at boot.
        lock_file: locked by the process that runs `start`, and by its worker.
    """

    def __init__(self, directory: Path = RUN_DIRECTORY, lock_file: Path = LOCK_FILE) -> None:
        self._stopping = directory / "stopping"
        self._idle = directory / "idle"
        self._pid_file = directory / "worker.pid"
        self._lock_file = lock_file

    def start(
        self,
        environment: Mapping[str, str],
        command: Sequence[str] = WORKER,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> int:
        """Runs the worker until it exits; returns its exit status, or 0 if the machine is stopping or idle.

        Args:
            interrupted: whether EC2 has announced that it interrupts this instance: then no other worker is started.
        """
        worker: subprocess.Popen[bytes] | None = None
        stop_requested = False

        def stop(_number: int, _frame: object) -> None:
            nonlocal stop_requested
            stop_requested = True
            if worker is not None:
                worker.terminate()

        signal.signal(signal.SIGTERM, stop)
        if self._stopping.exists() or self._idle.exists():
            return 0
        # The worker inherits the lock: while it runs no other starts, even if this supervisor is killed.
        worker = subprocess.Popen(command, env=dict(environment), close_fds=False)
        self._pid_file.write_text(str(worker.pid))
        try:
            if stop_requested:
                worker.terminate()
            status = worker.wait()
        finally:
            self._pid_file.unlink(missing_ok=True)
        if status == IDLE_STATUS or (status == 0 and not stop_requested and interrupted()):
            self._idle.touch()
        return status

    def stop(
        self,
        timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Terminates the worker; returns whether none is left after `timeout_seconds`."""
        self._stopping.touch()
        deadline, signalled_pid = clock() + timeout_seconds, 0
        with self._lock_file.open("a") as lock:
            while not _is_free(lock.fileno()):
                if clock() > deadline:
                    return False
                # Read each time: a worker that is just being started has no process id yet.
                with contextlib.suppress(OSError, ValueError):
                    pid = int(self._pid_file.read_text())
                    if pid != signalled_pid:
                        os.kill(pid, signal.SIGTERM)
                        signalled_pid = pid
                sleep(POLL_SECONDS)
        return True


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status."""
    if list(arguments) == ["stop"]:
        return 0 if WorkerSupervisor().stop() else 1
    if list(arguments) != ["start"]:
        print("usage: python -m ami.worker_supervisor start|stop", file=sys.stderr)
        return 2
    try:
        environment = {**os.environ, **read_variables(ENVIRONMENT_FILE.read_text("utf-8"))}
        metadata = InstanceMetadata(environment)
        environment |= instance_variables(metadata, environment)
    except (OSError, VariablesError) as error:
        print(f"the worker cannot start: {error}", file=sys.stderr)
        return 1
    return WorkerSupervisor().start(environment, interrupted=lambda: _is_interrupted(metadata))


def _is_interrupted(metadata: InstanceMetadata) -> bool:
    try:
        return metadata.interruption() is not None
    except MetadataUnavailableError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
