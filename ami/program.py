"""What of this program goes into the machine image."""

from __future__ import annotations

from pathlib import Path

from ami.image_spec import PROGRAM_PACKAGES
from core.packaging import Archive, make_archive, tree

DEFAULT_BUNDLE = "models/resnet50-photos"
# What provisioning itself needs beside the modules.
_PROVISIONING_FILES = ("ami/provision.sh", "ami/seal.sh", "ami/requirements.txt", "app_tier/requirements.txt")


def program_files(root: Path, bundle: str) -> dict[str, Path]:
    """What a worker's machine needs of the program in `root`.

    Args:
        bundle: folder of the model bundle, under `root`.
    """
    return tree(root, PROGRAM_PACKAGES, folders=(bundle,))


def image_archive(root: Path, bundle: str) -> Archive:
    """Everything that provisioning needs."""
    return make_archive(program_files(root, bundle) | tree(root, (), files=_PROVISIONING_FILES))
