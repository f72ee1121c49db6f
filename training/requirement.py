"""Check that TensorFlow is installed, before it is imported, and silence its messages."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from core.errors import ExportError


def require_tensorflow() -> None:
    """Checks that TensorFlow is installed, and lowers its log level; call it before the import, which takes seconds.

    Raises:
        ExportError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ExportError("this needs TensorFlow, which is not installed; `make setup` installs it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """Discards the process's standard error: TensorFlow logs to it on import, whatever its log level.

    Failures are still seen: they come as exceptions.
    """
    saved = os.dup(2)
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
