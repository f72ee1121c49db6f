"""The manifest of a model bundle: the file ``bundle.json``."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

from core.errors import BundleError, DecodeError
from core.sizes import format_bytes
from core.versioned_json import parse_json

MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.tflite"
# The models of an ensemble after its first one.
MEMBER_FILES = tuple(f"model-{number}.tflite" for number in range(2, 6))
LABELS_FILE = "labels.txt"
_MAX_BYTES = 1024 * 1024
# The files that a manifest may name, with the limits on their sizes; no path, which could lead anywhere.
_MAX_FILE_BYTES = {
    **dict.fromkeys((MODEL_FILE, *MEMBER_FILES), 512 * 1024 * 1024),
    LABELS_FILE: 16 * 1024 * 1024,
    "card.md": 16 * 1024 * 1024,
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of the bundle in `folder`.

    Raises:
        OSError: the file cannot be read.
        BundleError: the manifest is not a JSON object.
    """
    path = folder / MANIFEST_FILE
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait
            raise BundleError(f"{path} is not a file")
        with path.open("rb") as file:
            manifest = parse_json(file.read(_MAX_BYTES + 1), _MAX_BYTES, "a bundle manifest")
    except DecodeError as error:
        raise BundleError(f"{path} is {error}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path} is not a bundle manifest: an object expected")
    return manifest


def verify_bundle(folder: Path) -> dict[str, Any]:
    """Check every file of the bundle in `folder` against its SHA-256; return the manifest.

    Raises:
        BundleError: a file is missing or altered, or the manifest does not describe the model and its labels.
    """
    try:
        manifest = read_manifest(folder)
        for file_name, expected in manifest["sha256"].items():
            with _open_file(folder, file_name) as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != expected:
                raise BundleError(f"{folder / file_name} is not the file that {MANIFEST_FILE} describes")
        missing = {MODEL_FILE, LABELS_FILE} - manifest["sha256"].keys()
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise BundleError(f"there is no model bundle {folder}") from error
        raise BundleError(f"{folder} is not a model bundle: it has no {Path(str(error.filename)).name}") from error
    except OSError as error:
        raise BundleError(f"the model bundle {folder} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{folder / MANIFEST_FILE} is not a bundle manifest: {error!r}") from error
    if missing:
        raise BundleError(f"{folder / MANIFEST_FILE} gives no sha256 for {', '.join(sorted(missing))}")
    return manifest


def _open_file(folder: Path, name: str) -> io.BufferedReader:
    """Open a file that a manifest names: one of a bundle's files in its folder, not a link, a device or a pipe."""
    if name not in _MAX_FILE_BYTES:
        raise BundleError(f"{folder / MANIFEST_FILE} names {name!r}, which is no file of a bundle")
    path = folder / name
    # Opening a pipe would wait, and a link could lead to another file.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_BYTES[name]:
        os.close(handle)
        raise BundleError(f"{path} is not a file of at most {format_bytes(_MAX_FILE_BYTES[name])}")
    return os.fdopen(handle, "rb")
