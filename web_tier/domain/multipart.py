"""Reads a multipart/form-data body file by file, so that memory stays flat however long the body is."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Protocol

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Field, File, MultipartDecoder

from core.errors import ElasticError, SpoolError
from core.file_selection import ARCHIVE_SUFFIX
from core.jobs import Failure
from web_tier.domain.memory import SpooledFile

_CHUNK_BYTES = 64 * 1024
# Bytes that the decoder may hold back: a part's headers, or the tail of a chunk that may begin a boundary.
_DECODER_BYTES = 2 * _CHUNK_BYTES
_BACKSLASH = re.compile(r'\\[\\"]?')
# A text field of a form is recognized by so many bytes.
_START_BYTES = 512


class UploadFormatError(ElasticError):
    """The request's body is not complete and well-formed multipart/form-data."""


class ByteStream(Protocol):
    """A readable stream: a request's body or a file."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(slots=True)
class UploadedFile:
    """One file of a form.

    `body` is positioned at its start; the consumer of the file closes it.  It holds the first bytes only where
    `size_bytes`, the length of what was sent, is above the reader's limit.  `field` is the form field's name.  With a
    `failure`, the file cannot be classified, and nothing of it is left to check.  With `no_room`, there was no room for
    it on disk, and nothing of it was kept.
    """

    filename: str
    size_bytes: int
    body: IO[bytes]
    field: str = ""
    failure: Failure | None = None
    no_room: bool = False


def is_archive_name(filename: str) -> bool:
    """Whether a file is expanded if it is a ZIP archive.  Other files that are ZIP archives inside are documents."""
    return filename.lower().endswith(ARCHIVE_SUFFIX)


def boundary_of(content_type: str) -> bytes:
    """The boundary in a multipart/form-data content type.

    Raises:
        UploadFormatError: the content type is another one, or has no boundary.
    """
    mimetype, options = parse_options_header(content_type)
    if mimetype.lower() != "multipart/form-data" or not options.get("boundary"):
        raise UploadFormatError("the request must be multipart/form-data with a boundary")
    return options["boundary"].encode("latin-1", "replace")


def read_files(
    stream: ByteStream, boundary: bytes, max_file_bytes: int, max_parts: int, max_archive_bytes: int = 0
) -> Iterator[UploadedFile]:
    """Yields the files of a multipart body in their order, each as soon as it is complete.

    A part without a file name is a file, too, if its content type or its first bytes are not those of a text field;
    it has the name of its field.  Other fields are skipped, and so is the empty part that a browser sends for a file
    input where nothing was chosen.  A file longer than `max_file_bytes` is read to its end but not kept, and so is one
    for which there is no room on disk.

    Args:
        max_archive_bytes: the limit on files that are named as archives, where it is larger.

    Raises:
        UploadFormatError: the body is malformed, ends too early, or has more than `max_parts` parts.  The
            files before that point have been yielded.
    """
    decoder = _Decoder(boundary, _DECODER_BYTES, max_parts=max_parts)
    current: _Incoming | None = None
    try:
        while True:
            event = decoder.next_event()
            if event is NEED_DATA:
                # None signals the end to the decoder.
                decoder.receive_data(_read_chunk(stream) or None)
            elif isinstance(event, File | Field):
                name = _filename(event)
                limit = max(max_file_bytes, max_archive_bytes) if is_archive_name(name) else max_file_bytes
                current = _Incoming(name, limit, event.name or "", may_be_text=_may_be_text_field(event))
            elif isinstance(event, Data) and current is not None:
                current.write(event.data)
                if not event.more_data:
                    finished, current = current.finish(), None
                    if finished is not None:
                        yield finished
            elif isinstance(event, Epilogue):
                return
    except ValueError as error:
        raise UploadFormatError from error
    except RequestEntityTooLarge as error:
        raise UploadFormatError(f"the request has more than {max_parts} parts or an overlong header") from error
    finally:
        if current is not None:
            current.body.close()


def read_file(stream: ByteStream, filename: str, max_file_bytes: int) -> UploadedFile:
    """A body that is one file and nothing else; read to its end, but not kept beyond `max_file_bytes`."""
    incoming = _Incoming(filename, max_file_bytes)
    try:
        while chunk := stream.read(_CHUNK_BYTES):
            incoming.write(chunk)
    except BaseException:
        incoming.body.close()
        raise
    return incoming.finish() or UploadedFile(filename, 0, BytesIO())


def _read_chunk(stream: ByteStream) -> bytes:
    chunk = stream.read(_CHUNK_BYTES)
    if chunk.endswith(b"-"):
        # Werkzeug 3.1 adds a byte to the last file where a chunk ends between the two dashes that end the body.
        chunk += stream.read(1)
    return chunk


class _Decoder(MultipartDecoder):
    """Werkzeug's decoder for the headers that programs send in fact; it would refuse the whole body or alter names."""

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        # RFC 7578 asks for UTF-8, but old programs send names in the encoding of their system.
        text = data.decode(errors="replace")
        # Browsers, and programs on Windows, send a backslash as it is; only before these two it is an escape.
        text = _BACKSLASH.sub(lambda found: found[0] if len(found[0]) == 2 else "\\\\", text)
        headers = super()._parse_headers(text.encode())
        headers.setdefault("content-disposition", "form-data")
        return headers


def _filename(part: File | Field) -> str:
    return part.filename if isinstance(part, File) else part.name or "unnamed"


def _may_be_text_field(part: File | Field) -> bool:
    """Whether a part may be a text field of the form: it has no file name, and no content type or that of a text."""
    # A name that ends in a backslash breaks the quoting, and the decoder reports a field although it is a file.
    if isinstance(part, File) or "filename" in part.headers.get("content-disposition", "").lower():
        return False
    return part.headers.get("content-type", "text/plain").lower().startswith("text/")


def _is_text(start: bytes) -> bool:
    """Whether the first bytes of a part are a text's.  Those of an image are none, unless it is a PPM file in ASCII."""
    try:
        # Not final: the last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return b"\0" not in start


class _Incoming:
    """A file that is being read, or with `may_be_text` a text field of the form."""

    def __init__(self, filename: str, max_file_bytes: int, field: str = "", *, may_be_text: bool = False) -> None:
        self.body = SpooledFile()
        self._filename = filename
        self._field = field
        self._max_file_bytes = max_file_bytes
        self._may_be_text = may_be_text
        self._size_bytes = 0
        self._no_room = False

    def write(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._max_file_bytes or self._no_room:
            return
        try:
            self.body.append(data)
        except SpoolError:
            self._lose()

    def finish(self) -> UploadedFile | None:
        nothing_chosen = not self._filename and not self._size_bytes
        if nothing_chosen or self._is_text():
            self.body.close()
            return None
        if not self._no_room:
            try:
                self.body.rewind()
            except SpoolError:
                self._lose()
        if self._no_room:
            return UploadedFile(self._filename, self._size_bytes, BytesIO(), self._field, no_room=True)
        return UploadedFile(self._filename, self._size_bytes, self.body, self._field)

    def _is_text(self) -> bool:
        if not self._may_be_text or self._no_room:
            return False
        try:
            self.body.rewind()
        except SpoolError:
            self._lose()
            return False
        return _is_text(self.body.read(_START_BYTES))

    def _lose(self) -> None:
        # What was kept so far makes room for others at once.
        self._no_room = True
        self.body.close()
