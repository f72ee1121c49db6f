"""The manifest of a model bundle: the file ``bundle.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import BundleError, DecodeError
from core.versioned_json import parse_json

MANIFEST_FILE = "bundle.json"
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
