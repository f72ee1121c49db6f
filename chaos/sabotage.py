"""Kill workers at random, and stop and restart the controller now and then."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator

import psutil

from local_cloud.processes import Process, kill, stop_all
from local_cloud.stack import LocalStack

SECONDS_BETWEEN_KILLS = (0.3, 1.7)
KILLS_PER_CONTROLLER_STOP = 5
SECONDS_WITHOUT_CONTROLLER = (0.1, 1.5)
CONTROLLER_STOP_SECONDS = 15.0


class Saboteur:
    """Kills workers of `stack`; after every few kills the controller is killed or terminated, and started again.

    Args:
        dice: chooses the workers and the times.
        target_kills: how many workers to kill.
        seconds_between_kills: the shortest and the longest pause.
        kills_per_controller_stop: after how many kills the controller is stopped; 0: never.
        only_youngest: kill the worker that was started last, so that the first one lives on.

    Attributes:
        kills: how many have been killed.
        stop: ends `work` early.
    """

    def __init__(
        self,
        stack: LocalStack,
        dice: random.Random,
        target_kills: int,
        seconds_between_kills: tuple[float, float] = SECONDS_BETWEEN_KILLS,
        *,
        kills_per_controller_stop: int = KILLS_PER_CONTROLLER_STOP,
        only_youngest: bool = False,
    ) -> None:
        self.target_kills = target_kills
        self.kills = 0
        self.stop = threading.Event()
        self._stack = stack
        self._dice = dice
        self._seconds_between_kills = seconds_between_kills
        self._kills_per_controller_stop = kills_per_controller_stop
        self._only_youngest = only_youngest
        self._stop_controller = itertools.cycle((kill, _terminate))

    def work(self) -> None:
        """Kills `target_kills` workers, or fewer if `stop` is set before."""
        while self.kills < self.target_kills and not self.stop.wait(self._dice.uniform(*self._seconds_between_kills)):
            workers = self.workers()
            if workers and self._kill_one(workers):
                stops = self._kills_per_controller_stop
                if stops and self.kills % stops == 0:
                    self._restart_controller()

    def oldest_worker(self) -> psutil.Process | None:
        """The running worker process that was started first; None where there is none."""
        with contextlib.suppress(psutil.Error):
            return min(self._workers(), key=lambda worker: worker.create_time(), default=None)
        return None

    def workers(self) -> list[psutil.Process]:
        """The running worker processes, by their ids."""
        return sorted(self._workers(), key=lambda process: process.pid)

    def _workers(self) -> Iterator[psutil.Process]:
        for process in psutil.Process(self._stack.process("local-cloud").pid).children():
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                if "app_tier" in process.cmdline():
                    yield process

    def _kill_one(self, workers: list[psutil.Process]) -> bool:
        try:
            if self._only_youngest:
                victim = max(workers, key=lambda worker: worker.create_time())
            else:
                victim = self._dice.choice(workers)
            victim.kill()
        except psutil.NoSuchProcess:
            return False
        self.kills += 1
        return True

    def _restart_controller(self) -> None:
        next(self._stop_controller)(self._stack.process("controller"))
        time.sleep(self._dice.uniform(*SECONDS_WITHOUT_CONTROLLER))
        self._stack.start_controller()


def _terminate(process: Process) -> None:
    stop_all([process], CONTROLLER_STOP_SECONDS)
