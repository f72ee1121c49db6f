"""Model bundles: a folder with ``model.tflite``, ``labels.txt``, ``bundle.json`` and ``card.md``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.bundle_manifest import MANIFEST_FILE, read_manifest
from core.errors import BundleError

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"

_CHANNEL_ORDERS = ("RGB", "BGR")
_RESIZES = ("largest centred square, bicubic",)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The model's input: `height` × `width` pixels, float32, channels in the order `channels`.

    `subtract` has the value to subtract from each channel, in the same order.
    """

    height: int
    width: int
    channels: str
    subtract: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model bundle that has been read and verified."""

    folder: Path
    name: str
    version: str
    input: InputSpec
    labels: tuple[str, ...]

    @property
    def model_path(self) -> Path:
        """The LiteRT model's file."""
        return self.folder / MODEL_FILE

    @property
    def full_name(self) -> str:
        """``name@version``, as in results."""
        return f"{self.name}@{self.version}"


def load_bundle(folder: Path) -> ModelBundle:
    """Read a bundle's manifest and labels, and check every file against its SHA-256.

    Raises:
        BundleError: a file is missing or altered, or the manifest requires an unknown preprocessing.
    """
    try:
        manifest = read_manifest(folder)
        for file_name, expected in manifest["sha256"].items():
            with (folder / file_name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != expected:
                raise BundleError(f"{folder / file_name} is not the file that {MANIFEST_FILE} describes")
        missing = {MODEL_FILE, LABELS_FILE} - manifest["sha256"].keys()
        if missing:
            raise BundleError(f"{folder / MANIFEST_FILE} gives no sha256 for {', '.join(sorted(missing))}")
        labels = tuple((folder / LABELS_FILE).read_text("utf-8").splitlines())
        return ModelBundle(
            folder, str(manifest["name"]), str(manifest["version"]), _input_spec(manifest["input"]), labels
        )
    except OSError as error:
        raise BundleError(f"the model bundle {folder} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"{folder / MANIFEST_FILE} is not a bundle manifest: {error!r}") from error


def _input_spec(fields: dict[str, Any]) -> InputSpec:
    if fields["dtype"] != "float32" or fields["channels"] not in _CHANNEL_ORDERS or fields["resize"] not in _RESIZES:
        raise BundleError("the bundle asks for a preprocessing that this version does not know")
    first, second, third = (float(value) for value in fields["subtract"])
    return InputSpec(int(fields["height"]), int(fields["width"]), fields["channels"], (first, second, third))
