"""Check that TensorFlow is installed, before it is imported, and lower its log level."""

from __future__ import annotations

import importlib.util
import os

from core.errors import ExportError


def require_tensorflow() -> None:
    """Checks that TensorFlow is installed, and lowers its log level; call it before the import, which takes seconds.

    Raises:
        ExportError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ExportError("this needs TensorFlow, which is not installed; `make setup` installs it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
