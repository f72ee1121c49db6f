"""What the commands need that running the program does not: TensorFlow."""

from __future__ import annotations

import importlib.util
import os

from core.errors import ExportError


def require_tensorflow() -> None:
    """To be called before TensorFlow is imported, which takes seconds; also keeps it from telling of itself.

    Raises:
        ExportError: it is not installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ExportError("this needs TensorFlow, which is not installed; `make setup` installs it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
