"""The model store: versioned bundles in the state bucket, each file under its own SHA-256.

``models/files/<sha256>`` holds a file, ``models/versions/<name>/<version>.json`` a version's manifest, which names its
files.  The manifest is created last and conditionally, so a version is there as a whole or not at all, and never
changes; files that several versions share are stored once.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws.state import StateStore
from core.errors import BundleError, ConflictError
from core.versioned_json import decode_record, encode_record

VERSION = 1
FILES_PREFIX = "models/files/"
VERSIONS_PREFIX = "models/versions/"
MANIFEST_FILE = "bundle.json"
# What a bundle consists of; the card may be missing, nothing may be added.
REQUIRED_FILES = frozenset((MANIFEST_FILE, "model.tflite", "labels.txt"))
OPTIONAL_FILES = frozenset(("card.md",))
MAX_FILE_BYTES = 512 * 1024 * 1024
# A part of a key, of a tag and of a folder's name.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelError(BundleError):
    """The model store cannot do this."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version's manifest.

    Attributes:
        files: by name.
        top1: accuracy as the bundle's own `measured` says it, 0 to 1; None where it does not.
        added_at: seconds since the epoch.
    """

    name: str
    version: str
    files: dict[str, StoredFile]
    top1: float | None
    added_at: float

    @property
    def full_name(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 of what the files are, whoever added them when: names a folder in a cache."""
        text = "".join(f"{name} {file.sha256}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def encode(self) -> bytes:
        """The object's body."""
        return encode_record(dataclasses.asdict(self), VERSION)

    @classmethod
    def decode(cls, body: bytes) -> ModelVersion:
        """Reads what `encode` wrote.

        Raises:
            DecodeError: it is something else, or of another version.
        """

        def build(fields: dict[str, Any]) -> ModelVersion:
            files = {name: StoredFile(**entry) for name, entry in fields["files"].items()}
            if not files.keys() >= REQUIRED_FILES or not files.keys() <= REQUIRED_FILES | OPTIONAL_FILES:
                raise ValueError("not a bundle's files")
            if not all(_SHA256.fullmatch(file.sha256) for file in files.values()):
                raise ValueError("a SHA-256 that is none")
            return cls(**{**fields, "files": files})

        return decode_record(body, VERSION, build, "the manifest of a model")


class ModelStore:
    """Adds, lists and fetches model bundles.

    Every method raises `CloudError` where S3 fails after botocore's retries.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state

    def add(self, folder: Path, now: float) -> ModelVersion:
        """Stores the bundle in `folder` as a new version.

        Args:
            now: seconds since the epoch.

        Raises:
            ModelError: it is no bundle, its files are not what its manifest says, or the version is there already.
        """
        version = describe_bundle(folder, now)
        key = _key(version.full_name)
        if (found := self._state.get(key)) is not None:
            raise _already_there(version, ModelVersion.decode(found.body))
        stored = {item.key.removeprefix(FILES_PREFIX) for item in self._state.list(FILES_PREFIX)}
        for name, file in version.files.items():
            if file.sha256 not in stored:
                self._state.put(f"{FILES_PREFIX}{file.sha256}", (folder / name).read_bytes())
        try:
            self._state.create(key, version.encode())
        except ConflictError:
            found = self._state.get(key)
            other = None if found is None else ModelVersion.decode(found.body)
            if other is None or other.added_at != now or other.digest != version.digest:  # else it is this very write
                raise _already_there(version, other or version) from None
        return version

    def list(self) -> list[ModelVersion]:
        """Every version, newest first."""
        found = []
        for item in self._state.list(VERSIONS_PREFIX):
            stored = self._state.get(item.key)
            found += [] if stored is None else [ModelVersion.decode(stored.body)]
        return sorted(found, key=lambda version: (version.added_at, version.full_name), reverse=True)

    def get(self, full_name: str) -> ModelVersion:
        """A version's manifest.

        Raises:
            ModelError: there is no such version.
        """
        stored = self._state.get(_key(full_name))
        if stored is None:
            raise ModelError(f"the model store has no {full_name}; `elastic model list` shows what it has")
        return ModelVersion.decode(stored.body)

    def fetch(self, full_name: str, cache: Path, baked_in: Path | None = None) -> Path:
        """The folder of a version's bundle: `baked_in` if that is the same, else one below `cache`.

        Every file is checked against its SHA-256, also those that were fetched earlier; several processes may fetch
        the same version at the same time.

        Raises:
            ModelError: there is no such version, or a file is not what the manifest says.
        """
        version = self.get(full_name)
        if baked_in is not None and _holds(baked_in, version):
            return baked_in
        folder = cache / f"{full_name}-{version.digest[:16]}"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with (cache / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed: several workers fetch once
                if not _holds(folder, version):
                    self._fetch(version, folder)
        except OSError as error:
            raise ModelError(f"{full_name} cannot be kept in {cache}: {error}") from error
        return folder

    def _fetch(self, version: ModelVersion, folder: Path) -> None:
        """Makes `folder` hold a version's files, all or none."""
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or half of one
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetching-"))
        try:
            for name, file in version.files.items():
                (made / name).write_bytes(self._file(version.full_name, name, file))
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _file(self, full_name: str, name: str, file: StoredFile) -> bytes:
        stored = self._state.get(f"{FILES_PREFIX}{file.sha256}")
        if stored is None:
            raise ModelError(f"the model store has lost {name} of {full_name}")
        if hashlib.sha256(stored.body).hexdigest() != file.sha256:
            raise ModelError(f"{name} of {full_name} in the model store is not the file that was added")
        return stored.body


def parse_name(full_name: str) -> tuple[str, str]:
    """Name and version in ``name@version``.

    Raises:
        ModelError: it has another form.
    """
    name, at, version = full_name.partition("@")
    if not at or not _PART.fullmatch(name) or not _PART.fullmatch(version):
        raise ModelError(f"{full_name!r} is not a model's name and version, such as resnet50-photos@2")
    return name, version


def describe_bundle(folder: Path, now: float) -> ModelVersion:
    """The manifest of the bundle in `folder`.

    Raises:
        ModelError: files are missing, superfluous or not what ``bundle.json`` says, which is named.
    """
    try:
        names = {path.name for path in folder.iterdir()}
        if missing := REQUIRED_FILES - names:
            raise ModelError(f"{folder} is no model bundle: {', '.join(sorted(missing))} missing")
        if superfluous := names - REQUIRED_FILES - OPTIONAL_FILES:
            raise ModelError(f"{folder} has files that are no part of a bundle: {', '.join(sorted(superfluous))}")
        files = {name: _describe_file(folder / name) for name in sorted(names)}
        told = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
        name, version = parse_name(f"{told['name']}@{told['version']}")
        for file_name, sha256 in told["sha256"].items():
            if file_name not in files or files[file_name].sha256 != sha256:
                raise ModelError(f"{folder / file_name} is not the file that {MANIFEST_FILE} describes (SHA-256)")
        measured = told.get("measured", {})
        top1 = measured.get("top1_int8", measured.get("top1"))
        return ModelVersion(name, version, files, None if top1 is None else float(top1), now)
    except OSError as error:
        raise ModelError(f"the model bundle {folder} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / MANIFEST_FILE} is not a bundle's manifest: {error!r}") from error


def _describe_file(path: Path) -> StoredFile:
    size_bytes = path.stat().st_size
    if not path.is_file() or size_bytes > MAX_FILE_BYTES:
        raise ModelError(f"{path} is not a file of at most {MAX_FILE_BYTES // 2**20} MB")
    with path.open("rb") as file:
        return StoredFile(hashlib.file_digest(file, "sha256").hexdigest(), size_bytes)


def _key(full_name: str) -> str:
    name, version = parse_name(full_name)
    return f"{VERSIONS_PREFIX}{name}/{version}.json"


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
