"""Troubles of machines while photos flow: stopped processes, full disks, few files, a wrong clock, a slow cloud.

A full disk is simulated by the limit on the size of files, with which writing fails as it does on a full disk; a
stopped process is one whose machine was suspended.  Each trouble ends by itself, and at the latest with the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from local_cloud.fault_control import FaultControl
from local_cloud.stack import LocalStack

PAUSE_SECONDS = 1.0
SHORT_SECONDS = 3.0
# For this long, or to the end of the run, the emulator answers slowly; then as `local_cloud.faults` has it.
SLOW_SECONDS = 60.0
SLOW = {"delay": 0.3, "max_delay_seconds": 0.6}
USUAL = {"delay": 0.06, "max_delay_seconds": 0.3}
CLOCK_JUMP_SECONDS = (3600.0, -7200.0)
_SHIFTED_CLOCK = Path(__file__).parent / "shifted_clock"


def clock_variables(file: Path, python_path: str = "") -> dict[str, str]:
    """Environment variables with which the web tier's wall clock is shifted by the seconds in `file`."""
    paths = [str(_SHIFTED_CLOCK), *filter(None, [python_path])]
    return {"PYTHONPATH": os.pathsep.join(paths), "CHAOS_CLOCK_FILE": str(file)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """A trouble: its name, how long it lasts, and a context manager that causes it."""

    name: str
    seconds: float
    cause: Callable[[], AbstractContextManager[None]]


class Troubles:
    """Causes each trouble once, one after the other in a thread of its own, while the emulator is slow.

    Args:
        workers: returns the running worker processes.
        clock_file: see `clock_variables`.
        target: how many of the troubles to cause, the first ones.

    Attributes:
        caused: the names of those that were caused.
    """

    def __init__(
        self,
        stack: LocalStack,
        workers: Callable[[], list[psutil.Process]],
        faults: FaultControl,
        clock_file: Path,
        target: int,
    ) -> None:
        self.caused: list[str] = []
        self._stack = stack
        self._workers = workers
        self._faults = faults
        self._clock_file = clock_file
        beyond_visibility = stack.settings.visibility_timeout_seconds + 2.0
        troubles = [
            Trouble("worker stopped beyond the visibility timeout", beyond_visibility, self._stopped_worker),
            Trouble("full disk of a worker", SHORT_SECONDS, partial(self._limited_worker, psutil.RLIMIT_FSIZE, 0)),
            Trouble("few files for a worker", SHORT_SECONDS, partial(self._limited_worker, psutil.RLIMIT_NOFILE, 8)),
            Trouble("full disk of the emulator", SHORT_SECONDS, self._full_disk_of_the_emulator),
        ]
        for jump in CLOCK_JUMP_SECONDS:
            name = f"clock of the web tier off by {jump:+.0f} s"
            troubles.append(Trouble(name, SHORT_SECONDS, partial(self._clock, jump)))
        self.troubles = troubles[:target]
        self._stop = threading.Event()
        self._recovery = threading.Timer(SLOW_SECONDS, self._faults.change, (USUAL,))
        self._recovery.daemon = True
        self._thread = threading.Thread(target=self._run, name="troubles", daemon=True)

    def __enter__(self) -> Troubles:
        if self.troubles:
            self._faults.change(SLOW)
            self._recovery.start()
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._recovery.cancel()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        for trouble in self.troubles:
            while not self._stop.is_set() and not self._cause(trouble):
                self._stop.wait(0.1)  # there is no worker at the moment

    def _cause(self, trouble: Trouble) -> bool:
        try:
            with trouble.cause():
                self._stop.wait(trouble.seconds)
        except psutil.Error:
            return False  # the process ended in between
        self.caused.append(trouble.name)
        self._stop.wait(PAUSE_SECONDS)
        return True

    def _worker(self) -> psutil.Process:
        workers = self._workers()
        if not workers:
            raise psutil.NoSuchProcess(0)
        return workers[0]

    @contextlib.contextmanager
    def _stopped_worker(self) -> Iterator[None]:
        process = self._worker()
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)

    def _limited_worker(self, kind: int, soft: int) -> AbstractContextManager[None]:
        return _limited(self._worker(), kind, soft)

    def _full_disk_of_the_emulator(self) -> AbstractContextManager[None]:
        return _limited(psutil.Process(self._stack.process("local-cloud").pid), psutil.RLIMIT_FSIZE, 0)

    @contextlib.contextmanager
    def _clock(self, jump_seconds: float) -> Iterator[None]:
        self._clock_file.write_text(str(jump_seconds), "ascii")
        try:
            yield
        finally:
            self._clock_file.write_text("0", "ascii")


@contextlib.contextmanager
def _limited(process: psutil.Process, kind: int, soft: int) -> Iterator[None]:
    """Lowers a limit of a running process, and restores it."""
    before, hard = process.rlimit(kind)
    process.rlimit(kind, (soft, hard))
    try:
        yield
    finally:
        with contextlib.suppress(psutil.Error):
            process.rlimit(kind, (before, hard))
