"""Expands the ZIP archives among a request's files, so that each image in them is a file of the request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO

from core.errors import ArchiveTooLargeError, ImageError
from core.jobs import Failure, clean_name
from core.settings import Settings
from core.sizes import format_bytes
from core.zip_archive import ZipArchive, ZipMember, starts_as_zip
from web_tier.domain.multipart import SPOOL_BYTES, UploadedFile, is_archive_name, write_spooled

_START_BYTES = 4
# Entries of an archive for each image that a batch may have: macOS adds one for each image, and there are folders.
_ENTRIES_PER_IMAGE = 4


@dataclass(frozen=True, slots=True)
class ExpandedArchive:
    """An archive of a request.

    `files` counts the images that were made of it, which are files of the request; an archive that cannot be opened is
    one.  `hidden` and `others` count what was left out of it: hidden files, and files without an image's ending.
    """

    name: str
    files: int
    hidden: int
    others: int


class ExpandedFiles:
    """The files of a request, with the images of each archive in its place; iterate once.

    An image of an archive is named ``<the archive's name>/<its path in it>``.  The archive stays on disk while its
    images are read one after the other.  A member that cannot be read has a `failure`, and so has an archive.

    Attributes:
        archives: those expanded so far.
    """

    def __init__(self, files: Iterable[UploadedFile], settings: Settings) -> None:
        self.archives: list[ExpandedArchive] = []
        self._files = files
        self._settings = settings

    def __iter__(self) -> Iterator[UploadedFile]:
        for file in self._files:
            if _is_archive(file, self._settings.max_archive_bytes):
                yield from self._members(file)
            else:
                yield file

    def _members(self, file: UploadedFile) -> Iterator[UploadedFile]:
        limits = self._settings
        with file.body:
            try:
                if file.size_bytes > limits.max_archive_bytes:
                    limit = format_bytes(limits.max_archive_bytes)
                    raise ArchiveTooLargeError(f"the archive is larger than the limit of {limit}")
                entries = _ENTRIES_PER_IMAGE * limits.max_batch_images
                archive = ZipArchive(file.body, file.size_bytes, entries, limits.max_archive_bytes)
            except ImageError as error:
                self.archives.append(ExpandedArchive(clean_name(file.filename), 1, 0, 0))
                yield _failed(file.filename, file.size_bytes, error)
                return
            with archive:
                name = clean_name(file.filename)
                self.archives.append(ExpandedArchive(name, len(archive.members), archive.hidden, archive.others))
                for member in archive.members:
                    yield _uploaded(archive, member, f"{file.filename}/{member.path}", limits.max_image_bytes)


def _is_archive(file: UploadedFile, max_bytes: int) -> bool:
    if not is_archive_name(file.filename):
        return False
    if file.size_bytes > max_bytes:
        # Nothing of it may have been kept.
        return True
    start = file.body.read(_START_BYTES)
    file.body.seek(0)
    return starts_as_zip(start)


def _uploaded(archive: ZipArchive, member: ZipMember, name: str, max_bytes: int) -> UploadedFile:
    body: IO[bytes] = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - its consumer closes it
    size_bytes = 0
    try:
        for chunk in archive.read(member, max_bytes):
            write_spooled(body, chunk)
            size_bytes += len(chunk)
    except ImageError as error:
        body.close()
        return _failed(name, size_bytes, error)
    except BaseException:
        body.close()
        raise
    body.seek(0)
    return UploadedFile(name, size_bytes, body)


def _failed(name: str, size_bytes: int, error: ImageError) -> UploadedFile:
    return UploadedFile(name, size_bytes, BytesIO(), failure=Failure(error.code, str(error)))
