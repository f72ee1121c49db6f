"""The model store: versioned bundles in the state bucket, each file under its own SHA-256.

``models/files/<sha256>`` holds a file, ``models/versions/<name>/<version>.json`` a version's manifest, which names its
files.  The manifest is created last and conditionally, so a version is stored completely or not at all, and never
changes; files that several versions share are stored once.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aws.state import StateStore
from core.bundle_manifest import MANIFEST_FILE, MEMBER_FILES, read_manifest
from core.errors import BundleError, ConflictError, DecodeError
from core.object_keys import MODEL_FILES, MODEL_PART, MODEL_VERSIONS
from core.sizes import format_bytes
from core.versioned_json import Count, Record, Seconds, record

# The files of a bundle; the card may be missing, only ensembles have further models, and no other file is allowed.
REQUIRED_FILES = frozenset((MANIFEST_FILE, "model.tflite", "labels.txt"))
OPTIONAL_FILES = frozenset(("card.md", *MEMBER_FILES))
MAX_FILE_BYTES = 512 * 1024 * 1024
_PART = re.compile(MODEL_PART)
_SHA256 = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


class ModelError(BundleError):
    """The operation on the model store failed."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a bundle."""

    sha256: str
    size_bytes: Count


@record("the manifest of a model", version=1, max_bytes=64 * 1024)
@dataclass(frozen=True, slots=True)
class ModelVersion(Record):
    """A version's manifest.

    Attributes:
        files: by name.
        top1: the accuracy in the bundle's own `measured`, 0 to 1; None if there is none.
        added_at: seconds since the epoch.
    """

    name: str
    version: str
    files: dict[str, StoredFile]
    top1: float | None
    added_at: Seconds

    @property
    def full_name(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 of the files' names and contents, independent of when they were added; names a folder in a cache."""
        text = "".join(f"{name} {file.sha256}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Check a decoded manifest.

        Raises:
            ValueError, ModelError: the name is malformed, or the files are not those of a bundle.
        """
        parse_name(self.full_name)
        if not self.files.keys() >= REQUIRED_FILES or not self.files.keys() <= REQUIRED_FILES | OPTIONAL_FILES:
            raise ValueError("not a bundle's files")
        if not all(_SHA256.fullmatch(file.sha256) for file in self.files.values()):
            raise ValueError("a malformed SHA-256")


class ModelStore:
    """Add, list and fetch model bundles.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def add(self, folder: Path, now: float) -> ModelVersion:
        """Store the bundle in `folder` as a new version.

        Args:
            now: seconds since the epoch.

        Raises:
            ModelError: it is not a bundle, its files differ from its manifest, or the version exists already.
        """
        version = describe_bundle(folder, now)
        key = _key(version.full_name)
        if (found := self._state.get(key)) is not None:
            raise _already_there(version, _manifest(version.full_name, found.body))
        stored = {MODEL_FILES.name_of(item.key) for item in self._state.list(MODEL_FILES)}
        for name, file in version.files.items():
            if file.sha256 not in stored:
                self._state.put(MODEL_FILES.key_of(file.sha256), (folder / name).read_bytes())
        try:
            self._state.create(key, version.encode())
        except ConflictError:
            found = self._state.get(key)
            other = None if found is None else _manifest(version.full_name, found.body)
            if other is None or other.added_at != now or other.digest != version.digest:  # else this write took effect
                raise _already_there(version, other or version) from None
        return version

    def list(self) -> list[ModelVersion]:
        """List the versions whose manifests can be read, newest first."""
        found = []
        for item in self._state.list(MODEL_VERSIONS):
            stored = self._state.get(item.key)
            full_name = MODEL_VERSIONS.name_of(item.key).replace("/", "@")
            try:
                found += [] if stored is None else [_manifest(full_name, stored.body)]
            except ModelError as error:
                log.warning("%s", error)
        return sorted(found, key=lambda version: (version.added_at, version.full_name), reverse=True)

    def get(self, full_name: str) -> ModelVersion:
        """Read a version's manifest.

        Raises:
            ModelError: there is no such version, or its manifest cannot be read.
        """
        stored = self._state.get(_key(full_name))
        if stored is None:
            raise ModelError(f"the model store has no {full_name}; `elastic model list` shows what it has")
        return _manifest(full_name, stored.body)

    def fetch(self, full_name: str, cache: Path, baked_in: Path | None = None) -> Path:
        """Fetch a version's bundle; return its folder: `baked_in` if it has the same files, else one below `cache`.

        Every file is checked against its SHA-256, even if it was fetched earlier; several processes may fetch the
        same version at the same time.

        Raises:
            ModelError: there is no such version, or a file differs from the manifest.
        """
        version = self.get(full_name)
        if baked_in is not None and _holds(baked_in, version):
            return baked_in
        folder = cache / f"{full_name}-{version.digest[:16]}"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with (cache / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until `lock` is closed: several workers fetch once
                if not _holds(folder, version):
                    self._fetch(version, folder)
        except OSError as error:
            raise ModelError(f"{full_name} cannot be kept in {cache}: {error}") from error
        return folder

    def _fetch(self, version: ModelVersion, folder: Path) -> None:
        """Fetch a version's files into `folder`, all or none."""
        shutil.rmtree(folder, ignore_errors=True)  # damaged or incomplete
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetching-"))
        try:
            for name, file in version.files.items():
                (made / name).write_bytes(self._file(version.full_name, name, file))
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _file(self, full_name: str, name: str, file: StoredFile) -> bytes:
        stored = self._state.get(MODEL_FILES.key_of(file.sha256), MAX_FILE_BYTES)
        if stored is None:
            raise ModelError(f"the model store has lost {name} of {full_name}")
        if hashlib.sha256(stored.body).hexdigest() != file.sha256:
            raise ModelError(f"{name} of {full_name} in the model store is not the file that was added")
        return stored.body


def parse_name(full_name: str) -> tuple[str, str]:
    """Split ``name@version`` into name and version.

    Raises:
        ModelError: it has another form.
    """
    name, at, version = full_name.partition("@")
    if not at or not _PART.fullmatch(name) or not _PART.fullmatch(version):
        raise ModelError(f"{full_name!r} is not a model's name and version, such as resnet50-imagenet@2")
    return name, version


def describe_bundle(folder: Path, now: float) -> ModelVersion:
    """Make the manifest of the bundle in `folder`.

    Raises:
        ModelError: files are missing, superfluous or differ from ``bundle.json``; the message names them.
    """
    try:
        names = {path.name for path in folder.iterdir()}
        if missing := REQUIRED_FILES - names:
            raise ModelError(f"{folder} is no model bundle: {', '.join(sorted(missing))} missing")
        if superfluous := names - REQUIRED_FILES - OPTIONAL_FILES:
            raise ModelError(f"{folder} has files that are no part of a bundle: {', '.join(sorted(superfluous))}")
        files = {name: _describe_file(folder / name) for name in sorted(names)}
        described = read_manifest(folder)
        name, version = parse_name(f"{described['name']}@{described['version']}")
        for file_name, sha256 in described["sha256"].items():
            if file_name not in files or files[file_name].sha256 != sha256:
                raise ModelError(f"{folder / file_name} is not the file that {MANIFEST_FILE} describes (SHA-256)")
        measured = described.get("measured", {})
        top1 = measured.get("top1_int8", measured.get("top1"))
        return ModelVersion(name, version, files, None if top1 is None else float(top1), now)
    except OSError as error:
        raise ModelError(f"the model bundle {folder} cannot be read: {error}") from error
    except ModelError:
        raise
    except (BundleError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{folder / MANIFEST_FILE} is not a bundle's manifest: {error!r}") from error


def _describe_file(path: Path) -> StoredFile:
    size_bytes = path.stat().st_size
    if not path.is_file() or size_bytes > MAX_FILE_BYTES:
        raise ModelError(f"{path} is not a file of at most {format_bytes(MAX_FILE_BYTES)}")
    with path.open("rb") as file:
        return StoredFile(hashlib.file_digest(file, "sha256").hexdigest(), size_bytes)


def _key(full_name: str) -> str:
    name, version = parse_name(full_name)
    return MODEL_VERSIONS.key_of(f"{name}/{version}")


def _manifest(full_name: str, body: bytes) -> ModelVersion:
    """Decode the stored manifest of a version.

    Raises:
        ModelError: it cannot be decoded, or is that of another version.
    """
    try:
        version = ModelVersion.decode(body)
    except DecodeError as error:
        raise ModelError(f"{full_name} in the model store cannot be read: {error}") from error
    if version.full_name != full_name:
        raise ModelError(f"{full_name} in the model store has the manifest of {version.full_name}")
    return version


def _already_there(version: ModelVersion, other: ModelVersion) -> ModelError:
    if other.digest == version.digest:
        return ModelError(f"{version.full_name} is in the model store already, with the same files")
    return ModelError(
        f"{version.full_name} is in the model store already, with other files; versions never change: give "
        f"{MANIFEST_FILE} another version"
    )


def _holds(folder: Path, version: ModelVersion) -> bool:
    """Whether a folder holds a version's files."""
    try:
        return all(_describe_file(folder / name) == file for name, file in version.files.items())
    except (OSError, ModelError):
        return False
