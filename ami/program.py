"""What of this program goes into the image, and the archive that carries it to where the image is made."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ami.wanted import PROGRAM_PACKAGES

DEFAULT_BUNDLE = "models/resnet50-photos"
# What provisioning itself needs beside the modules.
_OTHER_FILES = ("ami/provision.sh", "ami/seal.sh", "ami/requirements.txt", "app_tier/requirements.txt")

# A file's path in the program's folder → the file.
Tree = Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Archive:
    """A gzipped tar file."""

    body: bytes

    @property
    def sha256(self) -> str:
        """Its digest, hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()


def program_files(root: Path, bundle: str) -> dict[str, Path]:
    """What a worker's machine needs of the program in `root`.

    Args:
        bundle: folder of the model bundle, under `root`.
    """
    modules = [path for package in PROGRAM_PACKAGES for path in (root / package).rglob("*.py")]
    paths = [*modules, *(path for path in (root / bundle).iterdir() if path.is_file())]
    return {str(path.relative_to(root)): path for path in paths}


def make_archive(root: Path, bundle: str) -> Archive:
    """Everything that provisioning needs; the same files always make the same bytes."""
    files = program_files(root, bundle) | {name: root / name for name in _OTHER_FILES}
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, path in sorted(files.items()):
            body = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return Archive(gzip.compress(tar.getvalue(), compresslevel=6, mtime=0))
