"""Helpers of all benchmarks' reports: the machine, a process's peak memory, JSON."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


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


def write_json(report: dict[str, Any], path: Path) -> None:
    """Writes a report as JSON."""
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
