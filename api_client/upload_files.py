"""The files that a command uploads: named files, the images of folders, and those of ZIP archives."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from api_client.image_files import as_unicode, file_name
from core.errors import ImageError, NoPhotosError
from core.file_selection import ARCHIVE_SUFFIX, FileKind, kind_of
from core.zip_archive import ZipArchive, ZipMember, starts_as_zip

# Bounds the memory for an archive's directory.
MAX_ARCHIVE_ENTRIES = 500_000
# Names of the reasons for which files are left out, in the singular and the plural.
LEFT_OUT = {
    FileKind.HIDDEN: ("hidden file", "hidden files"),
    FileKind.OTHER: ("file without an image's ending", "files without an image's ending"),
    FileKind.ARCHIVE: ("archive in a folder", "archives in folders"),
}


class UploadFile(Protocol):
    """A file to upload: `path` as it was given, which may have lone surrogates, and `name` in Unicode."""

    @property
    def path(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int:
        """Its approximate size; 0 if unknown."""
        ...

    def open(self, max_bytes: int) -> IO[bytes]:
        """The content, cut one byte behind `max_bytes`.

        Raises:
            OSError, ImageError: it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on disk."""

    file: Path
    name: str

    @property
    def path(self) -> str:
        return str(self.file)

    @property
    def size_bytes(self) -> int:
        try:
            return self.file.stat().st_size
        except OSError:
            return 0

    def open(self, max_bytes: int) -> IO[bytes]:
        with self.file.open("rb") as file:
            return io.BytesIO(file.read(max_bytes + 1))


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """A file in memory."""

    content: bytes = field(repr=False)
    name: str

    @property
    def path(self) -> str:
        return self.name

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def open(self, max_bytes: int) -> IO[bytes]:
        return io.BytesIO(self.content[: max_bytes + 1])


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """An image in a ZIP archive; its path begins with that of the archive."""

    archive: Path
    member: ZipMember
    opened: ZipArchive = field(repr=False)
    lock: threading.Lock = field(repr=False)

    @property
    def path(self) -> str:
        return f"{self.archive}/{self.member.path}"

    @property
    def name(self) -> str:
        return as_unicode(f"{self.archive.as_posix()}/{self.member.path}")

    @property
    def size_bytes(self) -> int:
        return self.member.size_bytes

    def open(self, max_bytes: int) -> IO[bytes]:
        with self.lock:
            return io.BytesIO(b"".join(self.opened.read(self.member, max_bytes)))


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """An archive that cannot be opened."""

    file: Path
    error: ImageError
    size_bytes: int = 0

    @property
    def path(self) -> str:
        return str(self.file)

    @property
    def name(self) -> str:
        return as_unicode(self.file.as_posix())

    def open(self, max_bytes: int) -> IO[bytes]:
        raise self.error


@dataclass(slots=True)
class Selection:
    """The files to upload, and how many others were left out, by their kinds."""

    files: list[UploadFile] = field(default_factory=list)
    left_out: Counter[FileKind] = field(default_factory=Counter)


def as_upload_file(file: Path | UploadFile) -> UploadFile:
    """A path as a file with its own name."""
    return LocalFile(file, file_name(file)) if isinstance(file, Path) else file


def select(paths: Sequence[Path], stack: ExitStack) -> Selection:
    """Selects the files to upload.

    A named file is taken whatever its name is; one that ends in `.zip` stands for the images in it.  Of folders and
    archives, the images are taken by the rule of `core.file_selection`.

    Args:
        stack: keeps the archives open.

    Raises:
        NoPhotosError: there is no file to upload.
        OSError: an archive cannot be read.
    """
    found = Selection()
    for path in paths:
        if path.is_dir():
            _add_folder(path, found)
        elif path.suffix.lower() == ARCHIVE_SUFFIX and _is_zip(path):
            _add_archive(path, found, stack)
        else:
            found.files.append(LocalFile(path, as_unicode(path.as_posix())))
    if not found.files:
        raise NoPhotosError(f"there is no image in {', '.join(map(str, paths))}")
    return found


def _add_folder(folder: Path, found: Selection) -> None:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        kind = kind_of(file.relative_to(folder).as_posix())
        if kind is FileKind.IMAGE:
            found.files.append(LocalFile(file, as_unicode(file.as_posix())))
        else:
            found.left_out[kind] += 1


def _add_archive(path: Path, found: Selection, stack: ExitStack) -> None:
    file = stack.enter_context(path.open("rb"))
    size_bytes = path.stat().st_size
    try:
        # Its own user's: the size of what it expands to is that user's matter.
        archive = stack.enter_context(ZipArchive(file, size_bytes, MAX_ARCHIVE_ENTRIES, 1 << 62))
    except ImageError as error:
        found.files.append(UnreadableFile(path, error))
        return
    lock = threading.Lock()
    found.files += [ArchivedFile(path, member, archive, lock) for member in archive.members]
    found.left_out[FileKind.HIDDEN] += archive.hidden
    found.left_out[FileKind.OTHER] += archive.others


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return starts_as_zip(file.read(4))
