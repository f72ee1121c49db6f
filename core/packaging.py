"""Gzipped tar archives of the program, for the machines that install it."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# A file's path in the archive → the file.
Tree = Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Archive:
    """A gzipped tar file."""

    body: bytes

    @property
    def sha256(self) -> str:
        """The archive's SHA-256, hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()


def tree(
    root: Path, packages: Iterable[str], folders: Iterable[str] = (), files: Iterable[str] = ()
) -> dict[str, Path]:
    """Collect the files of an archive, by their paths in it.

    Args:
        root: the folder that all names are relative to.
        packages: folders of which only the Python modules are taken.
        folders: folders that are taken whole.
        files: single files.
    """
    paths = [path for package in packages for path in (root / package).rglob("*.py")]
    paths += [path for folder in folders for path in (root / folder).rglob("*") if path.is_file()]
    paths += [root / name for name in files]
    return {path.relative_to(root).as_posix(): path for path in paths}


def make_archive(files: Tree) -> Archive:
    """Pack `files` reproducibly: the same files make the same bytes, whatever their times and owners."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, path in sorted(files.items()):
            body = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return Archive(gzip.compress(tar.getvalue(), compresslevel=6, mtime=0))
