"""The archive of this program that the web tier's and the controller's instances install."""

from __future__ import annotations

from pathlib import Path

from core.packaging import Archive, make_archive, tree

PACKAGES = ("aws", "controller", "core", "web_tier")
FOLDERS = ("static", "templates", "translations", "infra/machine")
FILES = (
    "infra/requirements.txt",
    "core/prices.toml",
    "web_tier/domain/label_groups.tsv",
    "web_tier/languages/label_names.tsv",
)
PREFIX = "program/"


def program_archive(root: Path) -> Archive:
    """Makes the archive of the program in `root`."""
    return make_archive(tree(root, PACKAGES, FOLDERS, FILES))


def key_of(sha256: str) -> str:
    """The key of the archive with this digest in the state bucket; `stack.yaml` builds the same key."""
    return f"{PREFIX}{sha256}.tar.gz"
