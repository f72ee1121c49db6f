"""The location of this program on the machine that it runs on."""

import os
from collections.abc import Mapping
from pathlib import Path

# The folder that holds the packages, `templates/`, `static/` and `models/`: a checkout, or an unpacked archive.
REPOSITORY_ROOT = Path(__file__).resolve().parents[1]


def state_folder(environment: Mapping[str, str]) -> Path:
    """The folder for logs and registered local stacks: ``var`` if it is writable, else by the XDG specification."""
    own = REPOSITORY_ROOT / "var"
    if os.access(own if own.exists() else REPOSITORY_ROOT, os.W_OK):
        return own
    base = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".local" / "state"
    return Path(base) / "elastic-image-classifier"
