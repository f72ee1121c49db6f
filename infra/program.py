"""The archive of the program that the web tier's and the controller's instances install."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

PACKAGES = ("aws", "controller", "core", "web_tier")
FOLDERS = ("static", "templates", "infra/machine")
FILES = ("infra/requirements.txt",)
PREFIX = "program/"


def program_files(root: Path) -> dict[str, Path]:
    """What goes into the archive, by its path there."""
    paths = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    paths += [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    paths += [root / name for name in FILES]
    return {path.relative_to(root).as_posix(): path for path in paths}


def make_archive(files: Mapping[str, Path]) -> bytes:
    """A gzipped tar file; the same files always make the same bytes."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, path in sorted(files.items()):
            body = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return gzip.compress(tar.getvalue(), compresslevel=6, mtime=0)


def sha256_of(archive: bytes) -> str:
    """The archive's digest, hexadecimal; it is also the archive's name."""
    return hashlib.sha256(archive).hexdigest()


def key_of(sha256: str) -> str:
    """Where the archive of this digest lies in the state bucket; `stack.yaml` says the same."""
    return f"{PREFIX}{sha256}.tar.gz"
