"""Bound the local stack's logs: truncate long ones, and keep those of the latest instances only.

Its processes write to files that they were started with and cannot open anew, so a long log is copied and truncated,
as by logrotate's ``copytruncate``: the files are open for appending, and writers go on at the new end.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

INSTANCE_FOLDER = "instances"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """What the logs of one stack may take.

    Attributes:
        max_bytes: a longer log is moved to its name with ``.1``, in whose place the former one is lost.
        instance_logs: how many of the latest instances' logs are kept.
    """

    max_bytes: int = 10 * 1024 * 1024
    instance_logs: int = 200


DEFAULT_LOG_LIMITS = LogLimits()


def bound_logs(folder: Path, limits: LogLimits) -> None:
    """Run one round over the logs in `folder` and those of its instances.

    Raises:
        OSError: a log could not be copied; it is not truncated then.
    """
    for log in (*folder.glob("*.log"), *folder.glob(f"{INSTANCE_FOLDER}/*.log")):
        if log.stat().st_size > limits.max_bytes:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            with log.open("r+b") as file:
                file.truncate()
    by_age = sorted(folder.glob(f"{INSTANCE_FOLDER}/*.log"), key=lambda log: log.stat().st_mtime_ns, reverse=True)
    for log in by_age[limits.instance_logs :]:
        # A worker that is still running goes on writing to its deleted file; the latest are those that write.
        for path in (log, log.with_name(f"{log.name}.1")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
