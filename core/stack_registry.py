"""The local stacks that run on this machine, each registered in a file that is locked while the stack runs."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.paths import state_folder


@dataclass(frozen=True, slots=True)
class RegisteredStack:
    """A local stack.

    Attributes:
        port: the web tier's port, which identifies the stack.
        pid: the process that started it.
        started_at: seconds since the epoch.
        environment: the ``EIC_`` and ``AWS_`` variables with which a process belongs to the stack; no secrets.
    """

    port: int
    pid: int
    started_at: float
    web_url: str
    endpoint_url: str
    log_directory: str
    environment: Mapping[str, str]


def registry_folder(environment: Mapping[str, str]) -> Path:
    """The folder of the registry's files."""
    return state_folder(environment) / "stacks"


def running_stacks(folder: Path) -> list[RegisteredStack]:
    """The running stacks, by port; files of stacks that have ended are deleted."""
    found = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            if _is_locked(path):
                found.append(_read(path))
            else:
                path.unlink()
    return sorted((stack for stack in found if stack is not None), key=lambda stack: stack.port)


@contextlib.contextmanager
def registered(stack: RegisteredStack, folder: Path) -> Iterator[None]:
    """Registers a stack until the end of the block; if the process is killed, until it has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stack.port}.json"
    part = folder / f".{stack.port}-{os.getpid()}.part"
    with part.open("w", encoding="utf-8") as file:
        # Before the file has its name: a reader takes a file without a lock for that of an ended stack.
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(dataclasses.asdict(stack), file, indent=1)
        file.flush()
        part.replace(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(path: Path) -> RegisteredStack | None:
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return RegisteredStack(**fields)
    except (ValueError, TypeError):  # of another version of this program
        return None
