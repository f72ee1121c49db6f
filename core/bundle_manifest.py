"""The manifest of a model bundle: the file ``bundle.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from core.errors import BundleError, DecodeError
from core.versioned_json import parse_json

MANIFEST_FILE = "bundle.json"
MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
_MAX_BYTES = 1024 * 1024


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of the bundle in `folder`.

    Raises:
        OSError: the file cannot be read.
        BundleError: the manifest is not a JSON object.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = parse_json(path.read_bytes(), _MAX_BYTES, "a bundle manifest")
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
            with (folder / file_name).open("rb") as file:
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
