"""``python -m ami.worker_supervisor start|stop``: keeps an instance's worker running; cron starts it under `flock`.

*start* gathers the worker's settings (`ENVIRONMENT_FILE`, then the instance's user data), runs the worker and waits
for its end.  Where the worker left because there was nothing to do, or because EC2 takes the instance back, it leaves
a marker, on which systemd switches the machine off.  *stop* ends the worker in order and keeps cron from starting
another; systemd calls it when the machine goes down.
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

# The status of `app_tier`'s end for want of work; a unit test holds the two together.
IDLE_STATUS = 10
STOP_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.05
WORKER = (sys.executable, "-m", "app_tier")


class WorkerSupervisor:
    """Keeps the worker of this machine.

    Args:
        directory: where marker and process id lie; emptied at boot.
        lock_file: what whoever runs `start` holds locked, the worker included.
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
        """Runs the worker until it ends; returns its exit status, 0 where none is wanted any more.

        Args:
            interrupted: whether EC2 has said that it takes this instance back: then no worker comes after this one.
        """
        worker: subprocess.Popen[bytes] | None = None
        told_to_stop = False

        def stop(_number: int, _frame: object) -> None:
            nonlocal told_to_stop
            told_to_stop = True
            if worker is not None:
                worker.terminate()

        signal.signal(signal.SIGTERM, stop)
        if self._stopping.exists() or self._idle.exists():
            return 0
        # The lock goes along: while this worker lives there is no other, whatever becomes of the keeper.
        worker = subprocess.Popen(command, env=dict(environment), close_fds=False)
        self._pid_file.write_text(str(worker.pid))
        try:
            if told_to_stop:
                worker.terminate()
            status = worker.wait()
        finally:
            self._pid_file.unlink(missing_ok=True)
        if status == IDLE_STATUS or (status == 0 and not told_to_stop and interrupted()):
            self._idle.touch()
        return status

    def stop(
        self,
        timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Ends the worker; returns whether none is left after `timeout_seconds`."""
        self._stopping.touch()
        deadline, told = clock() + timeout_seconds, 0
        with self._lock_file.open("a") as lock:
            while not _is_free(lock.fileno()):
                if clock() > deadline:
                    return False
                # Asked each time: a worker that was just being started has no process id yet.
                with contextlib.suppress(OSError, ValueError):
                    pid = int(self._pid_file.read_text())
                    if pid != told:
                        os.kill(pid, signal.SIGTERM)
                        told = pid
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
