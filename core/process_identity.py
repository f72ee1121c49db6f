"""Names of processes, by which another process of the same machine knows that one has ended.

A name ends with the machine's boot, the namespace of process ids, the process id and the process's start, which are all
in Linux's ``/proc``: the same id in another container, after a reboot, or of a later process gives another name.
Where ``/proc`` does not exist, no process is known to have ended.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_PROC = Path("/proc")
_NAME = re.compile(r"@(?P<place>[0-9a-f]{12}\.[0-9]+)\.(?P<pid>[0-9]+)\.(?P<start>[0-9]+)$", re.ASCII)
# The fields of /proc/PID/stat after the command, which is in parentheses and may contain anything: proc(5).
_STATE_FIELD, _START_FIELD = 0, 19
_ENDED_STATES = ("Z", "X", "x")


def name_process(prefix: str) -> str:
    """Return `prefix` with the identity of this process appended; without one where there is no ``/proc``."""
    place, start = _place(), _start(os.getpid())
    return f"{prefix}@{place}.{os.getpid()}.{start}" if place and start else prefix


def has_ended(name: str) -> bool:
    """Whether the process that `name_process` named ran on this machine and has ended."""
    found = _NAME.search(name)
    return found is not None and found["place"] == _place() and _is_over(int(found["pid"]), found["start"])


def _is_over(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # another user's, which runs
    # Where `/proc` hides other users' processes, there is nothing to compare.
    return _start(pid) not in ("", start)


def _place() -> str:
    """The machine's boot and the namespace of process ids; empty where they cannot be read."""
    try:
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", "")
        return f"{boot_id[:12]}.{(_PROC / 'self/ns/pid').stat().st_ino}"
    except (OSError, UnicodeDecodeError):
        return ""


def _start(pid: int) -> str:
    """The start of a process in clock ticks since the machine's, "ended" for one that has, empty if it is not known."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[_STATE_FIELD] in _ENDED_STATES else fields[_START_FIELD]
