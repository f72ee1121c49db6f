"""The files of this program that go into the machine image, and the archive for provisioning it."""

from __future__ import annotations

from pathlib import Path

from ami.image_spec import PROGRAM_PACKAGES
from core.packaging import Archive, make_archive, tree

DEFAULT_BUNDLE = "models/resnet50-imagenet"
# The files that provisioning itself needs beside the modules.
_PROVISIONING_FILES = ("ami/provision.sh", "ami/seal.sh", "ami/requirements.txt", "app_tier/requirements.txt")


def program_files(root: Path, bundle: str) -> dict[str, Path]:
    """The files of the program in `root` that a worker's machine needs.

    Args:
        bundle: folder of the model bundle, under `root`.
    """
    return tree(root, PROGRAM_PACKAGES, folders=(bundle,))


def image_archive(root: Path, bundle: str) -> Archive:
    """The archive of everything that provisioning needs."""
    return make_archive(program_files(root, bundle) | tree(root, (), files=_PROVISIONING_FILES))
