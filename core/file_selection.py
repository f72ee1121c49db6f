"""Which files of a folder or of an archive are images to classify: one rule for the page, the API and the commands.

`static/files.js` has the same lists for folders that are chosen in a browser; a test compares them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath

from core.formats import FILE_ENDINGS

IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in FILE_ENDINGS)
ARCHIVE_SUFFIX = ".zip"
# Within an archive, these are refused by name instead of being left out: they may hold images.
NESTED_ARCHIVE_SUFFIXES = frozenset((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"))
# What file managers add: macOS to archives, Windows to folders.
_HIDDEN_FOLDERS = frozenset(("__macosx", "@eadir", "$recycle.bin"))
_HIDDEN_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini"))


class FileKind(StrEnum):
    """What a file in a folder or an archive is taken for, by its name alone."""

    IMAGE = "image"
    ARCHIVE = "archive"
    HIDDEN = "hidden"
    OTHER = "other"


def kind_of(path: str) -> FileKind:
    """The kind of a file, by its path relative to the chosen folder or archive, with ``/`` as separator."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    name = parts[-1].lower() if parts else ""
    if any(part.startswith(".") or part.lower() in _HIDDEN_FOLDERS for part in parts) or name in _HIDDEN_FILES:
        return FileKind.HIDDEN
    suffix = PurePosixPath(name).suffix
    if suffix in IMAGE_SUFFIXES:
        return FileKind.IMAGE
    return FileKind.ARCHIVE if suffix in NESTED_ARCHIVE_SUFFIXES else FileKind.OTHER
