"""Collect the image files among files and folders, by their suffixes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from core.errors import NoPhotosError
from core.file_selection import FileKind, kind_of


def collect(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Collects the image files among `paths`, folders recursively; returns them and the files left out.

    In a folder, image files are recognized by their suffix; their content is checked when they are decoded.  Hidden
    files and folders in it are left out.

    Raises:
        NoPhotosError: a path does not exist, or there is no image.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NoPhotosError(f"{path} does not exist")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            is_image = file == path or kind_of(file.relative_to(path).as_posix()) is FileKind.IMAGE
            (images if is_image else others).append(file)
    if not images:
        raise NoPhotosError(f"there is no image in {', '.join(map(str, paths))}")
    return images, others


def file_name(path: Path) -> str:
    """A file's own name, as Unicode."""
    return as_unicode(path.name)


def as_unicode(name: str) -> str:
    """Replace what is not UTF-8 in a name on disk, which Python represents by lone surrogates."""
    return os.fsencode(name).decode("utf-8", "replace")
