"""Collect the image files among files and folders, by their suffixes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import NoPhotosError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".mpo", ".ico", ".ppm", ".avif", ".jp2")
)


def collect(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Collects the image files among `paths`, folders recursively; returns them and the files left out.

    In a folder, image files are recognized by their suffix; their content is checked when they are decoded.

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
            (images if file.suffix.lower() in IMAGE_SUFFIXES or file == path else others).append(file)
    if not images:
        raise NoPhotosError(f"there is no image in {', '.join(map(str, paths))}")
    return images, others
