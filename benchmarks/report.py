"""Helpers of all benchmarks' reports: the machine, a process's peak memory, JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from core.errors import ArgumentError
from core.output_files import check_output_file, write_output_file

_F = TypeVar("_F", bound=Callable[..., Any])


def output_file(option: str, name: str, text: str, endings: Collection[str] = ()) -> Callable[[_F], _F]:
    """An option with a file to write; one that cannot be written is refused before the work, not after it."""

    def check(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
        try:
            if path is not None:
                check_output_file(path, endings)
        except ArgumentError as error:
            raise click.BadParameter(str(error)) from error
        return path

    return click.option(option, name, type=click.Path(path_type=Path), callback=check, metavar="FILE", help=text)


json_option = output_file("--json", "json_path", "Write the report to this file.")


def machine() -> dict[str, Any]:
    """Describes the machine; `load` is the average number of busy processes over the last minute."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def peak_rss_mib(pid: int | str = "self") -> float:
    """A process's peak resident memory, shared libraries and mapped files included.

    Read from Linux's ``/proc``; the process must still be running.
    """
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has ended")


def pss_mib(pid: int | str = "self") -> float:
    """A process's memory now; a page that several processes share counts to each of them in equal parts.

    Read from Linux's ``/proc``; the process must still be running.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has ended")


def write_json(report: dict[str, Any], path: Path) -> None:
    """Writes a report as JSON."""
    write_output_file(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
