"""Model bundles: a folder with ``model.tflite``, ``labels.txt``, ``bundle.json`` and ``card.md``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.bundle_manifest import LABELS_FILE, MANIFEST_FILE, MEMBER_FILES, MODEL_FILE, verify_bundle
from core.errors import BundleError

# The interpreter allocates the input, and an image is decoded to it.
_MAX_SIDE = 2048
_CHANNEL_ORDERS = ("RGB", "BGR")
_RESIZES = ("largest centred square, bicubic",)
ENSEMBLE = "ensemble"
MAX_MEMBERS = 1 + len(MEMBER_FILES)


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
class Member:
    """One model of a bundle: its file, and its input, which has the size of the bundle's."""

    path: Path
    input: InputSpec


@dataclass(frozen=True, slots=True)
class OutputView:
    """The chosen ones of a model's `outputs` outputs, ascending; a bundle's last label is that of all others."""

    outputs: int
    chosen: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model bundle that has been read and verified.

    `ensemble` has the members of an ensemble, whose probabilities are averaged; it is empty for a single model.
    With a `view`, `labels` are some of the model's outputs, and a last one for all others.
    """

    folder: Path
    name: str
    version: str
    input: InputSpec
    labels: tuple[str, ...]
    ensemble: tuple[Member, ...] = ()
    view: OutputView | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The models: those of an ensemble, or the single one."""
        return self.ensemble or (Member(self.model_path, self.input),)

    @property
    def outputs(self) -> int:
        """How many outputs each model has."""
        return len(self.labels) if self.view is None else self.view.outputs

    @property
    def size_bytes(self) -> int:
        """The size of all models together."""
        return sum(member.path.stat().st_size for member in self.members)

    @property
    def model_path(self) -> Path:
        """The LiteRT model's file; of an ensemble, the first one."""
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
        manifest = verify_bundle(folder)
        labels = tuple((folder / LABELS_FILE).read_text("utf-8").splitlines())
        spec = _input_spec(manifest["input"])
        members = _members(folder, manifest, spec)
        view = _view(manifest, len(labels))
        return ModelBundle(folder, str(manifest["name"]), str(manifest["version"]), spec, labels, members, view)
    except OSError as error:
        raise BundleError(f"the model bundle {folder} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"{folder / MANIFEST_FILE} is not a bundle manifest: {error!r}") from error


def _members(folder: Path, manifest: dict[str, Any], spec: InputSpec) -> tuple[Member, ...]:
    if manifest.get("kind") != ENSEMBLE:
        return ()
    files = [str(fields["file"]) for fields in manifest["members"]]
    if files != [MODEL_FILE, *MEMBER_FILES][: len(files)] or len(files) < 2:
        raise BundleError(f"an ensemble has two to {MAX_MEMBERS} members, {MODEL_FILE}, {MEMBER_FILES[0]} and so on")
    if missing := set(files) - manifest["sha256"].keys():
        raise BundleError(f"{folder / MANIFEST_FILE} gives no sha256 for {', '.join(sorted(missing))}")
    members = tuple(
        Member(folder / file, _input_spec(fields["input"]))
        for file, fields in zip(files, manifest["members"], strict=True)
    )
    if any((member.input.height, member.input.width) != (spec.height, spec.width) for member in members):
        raise BundleError("the members of the ensemble have inputs of different sizes; an image is decoded to one")
    return members


def _view(manifest: dict[str, Any], labels: int) -> OutputView | None:
    if (fields := manifest.get("view")) is None:
        return None
    outputs, chosen = int(fields["outputs"]), tuple(int(number) for number in fields["chosen"])
    if list(chosen) != sorted(set(chosen)) or not chosen or chosen[0] < 0 or chosen[-1] >= outputs:
        raise BundleError("the bundle's view chooses outputs that its model does not have, or one of them twice")
    if len(chosen) + 1 != labels:
        raise BundleError(f"the bundle's view has {len(chosen)} outputs and the rest, and the bundle {labels} labels")
    return OutputView(outputs, chosen)


def _input_spec(fields: dict[str, Any]) -> InputSpec:
    if fields["dtype"] != "float32" or fields["channels"] not in _CHANNEL_ORDERS or fields["resize"] not in _RESIZES:
        raise BundleError("the bundle asks for a preprocessing that this version does not know")
    height, width = int(fields["height"]), int(fields["width"])
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise BundleError(f"the bundle asks for an input of {width} × {height} pixels; up to {_MAX_SIDE} are possible")
    first, second, third = (float(value) for value in fields["subtract"])
    return InputSpec(height, width, fields["channels"], (first, second, third))
