"""Reads the body of the current request: files, or JSON."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import TypeVar

from flask import Flask, abort, g, request
from pydantic import BaseModel
from werkzeug.exceptions import RequestEntityTooLarge

from web_tier.api.schemas import Base64Image
from web_tier.auth import authorization
from web_tier.domain.memory import Reservation, SpooledFile
from web_tier.domain.multipart import UploadedFile, boundary_of, read_file, read_files
from web_tier.security import body_limits
from web_tier.services import services

_MAX_PARTS_AROUND_ONE_FILE = 10
_CHUNK_BYTES = 64 * 1024
# Each begins an array or an object, or another value in one.
_VALUE_MARKS = (b"[", b"{", b",")
# Possessive, so that the search never backtracks; an unterminated string is matched, too, and the parser refuses it.
_STRING_OR_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{,]', re.DOTALL)
# JSON has a mark for each string; only in what is no JSON there are more.
_TOKENS_PER_VALUE = 3

M = TypeVar("M", bound=BaseModel)


def uploaded_files() -> Iterator[UploadedFile]:
    """Yields the request's files as they arrive.

    Raises:
        UploadFormatError: at once where the request is not multipart, later where its body is malformed.
    """
    settings = services().settings
    boundary = boundary_of(request.content_type or "")
    # Parts beyond the batch's limit are still reported by name, up to as many again.
    max_parts = 2 * settings.max_batch_images
    return read_files(request.stream, boundary, settings.max_image_bytes, max_parts, settings.max_archive_bytes)


def one_uploaded_file(fields: Collection[str] = ()) -> UploadedFile | None:
    """The first file of the request's form, None where it has none; the other files are read and discarded.

    Args:
        fields: only a file of one of these form fields counts; empty: of any.

    Raises:
        UploadFormatError: the request is not multipart, or its body is malformed.
    """
    limit = services().settings.max_image_bytes
    boundary = boundary_of(request.content_type or "")
    chosen: UploadedFile | None = None
    try:
        for file in read_files(request.stream, boundary, limit, _MAX_PARTS_AROUND_ONE_FILE):
            if chosen is None and (not fields or file.field in fields):
                chosen = file
            else:
                file.body.close()
    except BaseException:
        if chosen is not None:
            chosen.body.close()
        raise
    return chosen


def raw_file(name: str) -> UploadedFile:
    """The request's body as one file."""
    return read_file(request.stream, name, services().settings.max_image_bytes)


def init_app(app: Flask) -> None:
    """Returns the memory that a request to `app` has reserved for its body when the request ends."""
    app.teardown_request(_release_memory)


def read_json(model: type[M], *, optional: bool = False) -> M:
    """The request's JSON body, validated against `model`.

    The body is kept on disk until all of it has arrived and there is memory for it, so that slow clients hold none.

    Args:
        optional: no body is read as ``{}``.

    Raises:
        ValidationError: it is not JSON, or does not match.
        RequestEntityTooLarge: it is longer than the view's limit, or has more values.
        UnsupportedMediaType: its content type is not JSON.
        MemoryBusyError: the memory for large bodies is in use.
        SpoolError: the disk is full.
    """
    if not request.is_json and not optional:
        abort(415, "the body must be JSON, with the content type application/json")
    limit = body_limits.current()
    with SpooledFile() as spooled:
        size_bytes = values = 0
        while chunk := request.stream.read(_CHUNK_BYTES):
            spooled.append(chunk)
            size_bytes += len(chunk)
            values += sum(chunk.count(mark) for mark in _VALUE_MARKS)
        if not size_bytes and optional:
            return model()
        if not request.is_json:
            abort(415, "the body must be JSON, with the content type application/json")
        if size_bytes > body_limits.SMALL_BODY_BYTES:
            _reserve_memory(limit.json_memory_bytes(size_bytes, values))
        spooled.rewind()
        body = spooled.read()
    # Marks in texts, such as file names, are no values; to count exactly takes longer.
    if values > limit.max_json_values and has_more_values(body, limit.max_json_values):
        raise RequestEntityTooLarge(f"the body has more than {limit.max_json_values:,} values")
    return model.model_validate_json(body)


def has_more_values(body: bytes, most: int) -> bool:
    """Whether a JSON text has more than `most` arrays, objects and further values in them."""
    values = 0
    tokens = _STRING_OR_MARK.finditer(body)
    for token in islice(tokens, _TOKENS_PER_VALUE * most):
        values += body[token.start()] != ord('"')
        if values > most:
            return True
    # Text that goes on here has more strings than values, and is no JSON.
    return next(tokens, None) is not None


def _reserve_memory(size_bytes: int) -> None:
    reservation = services().json_memory.reserve(authorization.owner(), size_bytes)
    g.setdefault("reservations", []).append(reservation)


def _release_memory(_error: BaseException | None) -> None:
    reservations: list[Reservation] = g.pop("reservations", [])
    for reservation in reservations:
        reservation.shrink(0)


def decoded_files(images: Iterable[Base64Image]) -> list[UploadedFile]:
    """The files that a JSON body has in base64.

    Raises:
        UnprocessableEntity: one is not base64.
    """
    files = []
    for number, image in enumerate(images):
        try:
            content = base64.b64decode("".join(image.data.split()), validate=True)
        except (ValueError, binascii.Error):
            abort(422, f"the data of image {number} is not base64")
        files.append(UploadedFile(image.name, len(content), BytesIO(content)))
    return files
