"""Sample what a local stack takes: memory and open files of its processes, and its folder's disk space."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psutil

from chaos.sabotage import Saboteur
from chaos.trend import Tolerance, Trend, trend
from local_cloud.stack import LocalStack

MIB = 2**20
MEMORY, FILES, DISK = "memory, MiB", "open files", "disk, MiB"
TOLERANCES = {MEMORY: Tolerance(8.0), FILES: Tolerance(8.0), DISK: Tolerance(2.0)}

Series = dict[tuple[str, str], list[tuple[float, float]]]


class Samples:
    """Samples of one stack, by process and quantity.

    The web tier's processes count together; of the workers, the one that was started first counts, which the saboteur
    leaves alive.

    Args:
        folder: where the stack's processes write.

    Attributes:
        series: (seconds since the start, value), by the names of process and quantity.
    """

    def __init__(self, stack: LocalStack, saboteur: Saboteur, folder: Path) -> None:
        self.series: Series = defaultdict(list)
        self._stack = stack
        self._saboteur = saboteur
        self._folder = folder
        self._started = time.monotonic()

    def take(self) -> None:
        """Takes one sample of everything; processes that end meanwhile are left out of it."""
        seconds = time.monotonic() - self._started
        for name, processes in self._processes().items():
            with contextlib.suppress(psutil.Error):
                memory = sum(_proportional_bytes(process) for process in processes) / MIB
                files = sum(process.num_fds() for process in processes)
                self.series[name, MEMORY].append((seconds, memory))
                self.series[name, FILES].append((seconds, files))
        self.series["folder", DISK].append((seconds, _size_bytes(self._folder) / MIB))

    def trends(self) -> dict[tuple[str, str], Trend | None]:
        """The trend of each series; None for one with too few samples."""
        return {key: trend(samples, TOLERANCES[key[1]]) for key, samples in self.series.items()}

    def _processes(self) -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {}
        with contextlib.suppress(psutil.Error, KeyError):
            cloud = psutil.Process(self._stack.process("local-cloud").pid)
            web = psutil.Process(self._stack.process("web-tier").pid)
            found = {
                "supervisor": [cloud],
                "emulator": [child for child in cloud.children() if "local_cloud.emulator" in child.cmdline()],
                "web tier": [web, *web.children()],
                "controller": [psutil.Process(self._stack.process("controller").pid)],
            }
            if worker := self._saboteur.oldest_worker():
                found["worker"] = [worker]
        return found


def _proportional_bytes(process: psutil.Process) -> int:
    """The proportional set size, see proc(5); the resident size on systems that have none."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))


def _size_bytes(folder: Path) -> int:
    return sum(_file_bytes(folder.rglob("*")))


def _file_bytes(paths: Iterable[Path]) -> Iterable[int]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            stat = path.lstat()
            yield stat.st_blocks * 512
