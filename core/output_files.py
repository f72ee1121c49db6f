"""Files that a command writes at its end: refused before the work if they cannot be written, and never half written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path

from core.errors import ArgumentError


def check_output_file(path: Path, endings: Collection[str] = ()) -> None:
    """Check that a file can be written, without touching it.

    Args:
        endings: the endings that its name may have, in lower case; empty: any.

    Raises:
        ArgumentError: its folder does not exist or is read-only, the path is a folder's, or its ending is another.
    """
    if endings and path.suffix.lower() not in endings:
        raise ArgumentError(f"{path} must end in {' or '.join(endings)}")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ArgumentError(f"{path} cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; give a file's name")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ArgumentError(f"{path} cannot be written: permission denied")


def write_output_file(path: Path, text: str) -> None:
    """Write a text as UTF-8, under its name only when it is whole; devices and pipes are written directly.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    # Through a symbolic link, which stays one.
    target = path.resolve()
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    try:
        partial.write_text(text, "utf-8")
        if target.exists():
            partial.chmod(target.stat().st_mode & 0o777)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
