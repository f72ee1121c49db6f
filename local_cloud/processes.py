"""Start and stop child processes that end with their parent and write a log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child of a threaded parent must not import or allocate much.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process(Protocol):
    """The part of `subprocess.Popen` that is needed here."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    log_path: Path,
    working_directory: Path,
    pass_fds: Sequence[int] = (),
    stdout: int | None = None,
) -> subprocess.Popen[str]:
    """Starts `command` with its output appended to `log_path`.

    The child leads a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops
    its children in order.  On Linux it gets SIGTERM when the parent ends for any reason.  For Linux the parent is the
    thread that calls this function, so that thread must not end before the child.

    Args:
        stdout: the child's standard output instead of the log, as for `subprocess.Popen`.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=working_directory,
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            text=True,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            preexec_fn=_end_with_parent if _LIBC is not None else None,
        )


def stop_all(processes: Sequence[Process], grace_seconds: float) -> None:
    """Sends SIGTERM to all, SIGKILL to those still running after `grace_seconds`, and waits for them."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    for process in processes:
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            grace_seconds = 0.1  # the grace period is over for all
            kill(process)
        # A pipe to the child, which an address was read from.
        if isinstance(process, subprocess.Popen) and process.stdout is not None:
            process.stdout.close()


def kill(process: Process) -> None:
    """Sends SIGKILL to the process and its process group, and waits for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_with_parent() -> None:
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
