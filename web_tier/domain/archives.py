"""Expands the ZIP archives among a request's files, so that each image in them is a file of the request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

from core.errors import ArchiveTooLargeError, ImageError, SpoolError
from core.jobs import Failure, clean_name
from core.settings import Settings
from core.sizes import format_bytes
from core.zip_archive import ZipArchive, ZipMember, starts_as_zip
from web_tier.domain.memory import SpooledFile
from web_tier.domain.multipart import UploadedFile, is_archive_name
from web_tier.domain.upload_plan import ChosenFile, KnownImages

_START_BYTES = 4
# Entries of an archive for each image that a batch may have: macOS adds one for each image, and there are folders.
_ENTRIES_PER_IMAGE = 4


@dataclass(frozen=True, slots=True)
class ExpandedArchive:
    """An archive of a request.

    `files` counts the images that were made of it, which are files of the request; an archive that cannot be opened is
    one.  `hidden` and `others` count what was left out of it: hidden files, and files without an image's ending;
    `known`: images that the batch has already.
    """

    name: str
    files: int
    hidden: int = 0
    others: int = 0
    known: int = 0


class ExpandedFiles:
    """The files of a request, with the images of each archive in its place; iterate once.

    An image of an archive is named ``<the archive's name>/<its path in it>``.  The archive stays on disk while its
    images are read one after the other.  A member that cannot be read has a `failure`, and so has an archive.

    Args:
        known: lists the images that the batch has, each of which is left out of an archive; called once, if there is an
            archive.  None: nothing is left out.

    Attributes:
        archives: those expanded so far.
    """

    def __init__(
        self, files: Iterable[UploadedFile], settings: Settings, known: Callable[[], KnownImages] | None = None
    ) -> None:
        self.archives: list[ExpandedArchive] = []
        self._files = files
        self._settings = settings
        self._list_known = known
        self._known: KnownImages | None = None

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
                self.archives.append(ExpandedArchive(clean_name(file.filename), 1))
                yield _failed(file.filename, file.size_bytes, error)
                return
            with archive:
                wanted = [member for member in archive.members if not self._has(file.filename, member)]
                known = len(archive.members) - len(wanted)
                self.archives.append(
                    ExpandedArchive(clean_name(file.filename), len(wanted), archive.hidden, archive.others, known)
                )
                for member in wanted:
                    yield _uploaded(archive, member, _name(file.filename, member), limits.max_image_bytes)

    def _has(self, archive_name: str, member: ZipMember) -> bool:
        if self._list_known is None:
            return False
        if self._known is None:
            self._known = self._list_known()
        return self._known.take(ChosenFile(_name(archive_name, member), member.size_bytes))


def _name(archive_name: str, member: ZipMember) -> str:
    return f"{archive_name}/{member.path}"


def _is_archive(file: UploadedFile, max_bytes: int) -> bool:
    if not is_archive_name(file.filename) or file.no_room:
        return False
    if file.size_bytes > max_bytes:
        # Nothing of it may have been kept.
        return True
    start = file.body.read(_START_BYTES)
    file.body.seek(0)
    return starts_as_zip(start)


def _uploaded(archive: ZipArchive, member: ZipMember, name: str, max_bytes: int) -> UploadedFile:
    body = SpooledFile()
    size_bytes = 0
    try:
        for chunk in archive.read(member, max_bytes):
            body.append(chunk)
            size_bytes += len(chunk)
        body.rewind()
    except ImageError as error:
        body.close()
        return _failed(name, size_bytes, error)
    except SpoolError:
        body.close()
        return UploadedFile(name, size_bytes, BytesIO(), no_room=True)
    except BaseException:
        body.close()
        raise
    return UploadedFile(name, size_bytes, body)


def _failed(name: str, size_bytes: int, error: ImageError) -> UploadedFile:
    return UploadedFile(name, size_bytes, BytesIO(), failure=Failure(error.code, str(error)))
