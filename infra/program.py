"""What of this program the web tier's and the controller's instances install."""

from __future__ import annotations

from pathlib import Path

from core.packaging import Archive, make_archive, tree

PACKAGES = ("aws", "controller", "core", "web_tier")
FOLDERS = ("static", "templates", "infra/machine")
FILES = ("infra/requirements.txt",)
PREFIX = "program/"


def program_archive(root: Path) -> Archive:
    """The archive of the program in `root`."""
    return make_archive(tree(root, PACKAGES, FOLDERS, FILES))


def key_of(sha256: str) -> str:
    """Where the archive of this digest lies in the state bucket; `stack.yaml` says the same."""
    return f"{PREFIX}{sha256}.tar.gz"
