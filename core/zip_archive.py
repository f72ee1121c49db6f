"""Reads the images of a ZIP archive from an untrusted source, each within limits on size and on expansion."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

from core.errors import (
    ArchiveTooLargeError,
    BrokenArchiveError,
    EmptyArchiveError,
    EncryptedMemberError,
    ImageError,
    NestedArchiveError,
    UnsupportedCompressionError,
)
from core.file_selection import FileKind, kind_of

_CHUNK_BYTES = 64 * 1024
# Photos are compressed already; more than this is a drawing, or a decompression bomb.
MAX_EXPANSION = 100
# An archive may expand to so much in any case.
MIN_EXPANDED_BYTES = 64 * 1024 * 1024
# Of an entry in the central directory: its fixed fields, and a long path.
_DIRECTORY_BYTES_PER_ENTRY = 256
_ENTRY_SIGNATURE = b"PK\x01\x02"
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
# The two that archivers use for photos.  Python's decompressors of the others cannot be held to a limit on memory.
_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))


def starts_as_zip(start: bytes) -> bool:
    """Whether a file's first bytes are those of a ZIP archive, possibly an empty one."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of an archive that is to be classified, or refused by its name."""

    path: str
    size_bytes: int
    kind: FileKind
    info: zipfile.ZipInfo = field(repr=False)


class ZipArchive:
    """An open archive; not safe to share between threads.

    `members` are its images, and archives in it, in the order of its directory; `hidden` and `others` count the files
    that are left out, by the rule of `core.file_selection`.  Use it as a context manager.

    Args:
        file: seekable; stays open.
        archive_bytes: its length.
        max_entries: limit on files and folders together; bounds the memory for the directory.
        max_expanded_bytes: limit on the sum of what is read of its members.  `MAX_EXPANSION` is another.

    Raises:
        BrokenArchiveError: it is damaged, or not a ZIP archive.
        ArchiveTooLargeError: it has more entries.
        EmptyArchiveError: there is no image in it.
    """

    def __init__(self, file: IO[bytes], archive_bytes: int, max_entries: int, max_expanded_bytes: int) -> None:
        guard = _GuardedFile(file, max_entries)
        try:
            self._zip = zipfile.ZipFile(guard)
        except ImageError:
            raise
        except Exception as error:
            # `zipfile` raises many kinds of exceptions for hostile archives; all mean the same.
            raise BrokenArchiveError from error
        guard.check = False
        expansion = max(MIN_EXPANDED_BYTES, MAX_EXPANSION * archive_bytes)
        self._budget_bytes = min(max_expanded_bytes, expansion)
        self.members: list[ZipMember] = []
        self.hidden = 0
        self.others = 0
        for info in self._zip.infolist():
            self._sort_in(info)
        if not self.members:
            self.close()
            raise EmptyArchiveError

    def _sort_in(self, info: zipfile.ZipInfo) -> None:
        path = _path_of(info)
        if path.endswith(("/", "\\")):
            return
        kind = kind_of(path)
        if kind is FileKind.HIDDEN:
            self.hidden += 1
        elif kind is FileKind.OTHER:
            self.others += 1
        else:
            self.members.append(ZipMember(path, info.file_size, kind, info))

    def read(self, member: ZipMember, max_bytes: int) -> Iterator[bytes]:
        """Yields the content of a member in chunks, at most one more byte than `max_bytes`.

        Raises:
            ImageError: the member is an archive itself, encrypted, damaged or compressed by an unsupported method, or
                the archive expands to more than its limit.  The other members can still be read.
        """
        if member.kind is FileKind.ARCHIVE:
            raise NestedArchiveError
        if member.info.flag_bits & _ENCRYPTED:
            raise EncryptedMemberError
        if member.info.compress_type not in _METHODS:
            raise UnsupportedCompressionError
        left = max_bytes + 1
        try:
            with self._zip.open(member.info) as stream:
                while left and (chunk := stream.read(min(_CHUNK_BYTES, left))):
                    left -= len(chunk)
                    self._budget_bytes -= len(chunk)
                    if self._budget_bytes < 0:
                        raise ArchiveTooLargeError("the archive expands to more than its limit")
                    yield chunk
        except ImageError:
            raise
        except Exception as error:
            raise BrokenArchiveError("the image is damaged in its archive") from error

    def close(self) -> None:
        """Frees the directory; the file stays open."""
        self._zip.close()

    def __enter__(self) -> ZipArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _path_of(info: zipfile.ZipInfo) -> str:
    """A member's path: UTF-8, which many archivers use without declaring it, or else code page 437."""
    if not info.flag_bits & _UTF8_NAME:
        with suppress(UnicodeError):
            return info.orig_filename.encode("cp437").decode("utf-8")
    # `filename` ends at a null byte, `orig_filename` does not.
    return info.filename


class _GuardedFile(io.RawIOBase):
    """An archive's file that refuses to be read into memory in one piece beyond its directory's limits.

    `zipfile` reads the whole directory at once, and creates an object for each entry in it.
    """

    def __init__(self, file: IO[bytes], max_entries: int) -> None:
        self._file = file
        self._max_entries = max_entries
        # Where the directory ends, `zipfile` reads the last 64 KiB, too.
        self._max_bytes = max(128 * 1024, max_entries * _DIRECTORY_BYTES_PER_ENTRY)
        self.check = True

    def read(self, size: int = -1) -> bytes:
        if not self.check:
            return self._file.read(size)
        data = self._file.read(self._max_bytes + 1 if size < 0 else min(size, self._max_bytes + 1))
        # Each entry begins with the signature, so that there are no more entries than signatures.
        if len(data) > self._max_bytes or data.count(_ENTRY_SIGNATURE) > self._max_entries:
            raise ArchiveTooLargeError(f"the archive has more than {self._max_entries:,} files and folders")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def seekable(self) -> bool:
        return True
