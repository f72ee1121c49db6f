"""Reads the body of the current request: files, or JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TypeVar

from flask import abort, request
from pydantic import BaseModel

from web_tier.api.schemas import Base64Image
from web_tier.domain.multipart import UploadedFile, boundary_of, read_file, read_files
from web_tier.services import services

# JSON is held in memory as a whole, several times over.
MAX_JSON_BYTES = 32 * 1024 * 1024
_MAX_PARTS_AROUND_ONE_FILE = 10

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


def one_uploaded_file(field: str | None = None) -> UploadedFile | None:
    """The first file of the request's form, None where it has none; the other files are read and discarded.

    Args:
        field: only a file of this form field counts.

    Raises:
        UploadFormatError: the request is not multipart, or its body is malformed.
    """
    limit = services().settings.max_image_bytes
    boundary = boundary_of(request.content_type or "")
    chosen: UploadedFile | None = None
    try:
        for file in read_files(request.stream, boundary, limit, _MAX_PARTS_AROUND_ONE_FILE):
            if chosen is None and field in (None, file.field):
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


def read_json(model: type[M], *, optional: bool = False) -> M:
    """The request's JSON body, validated against `model`.

    Args:
        optional: no body is read as ``{}``.

    Raises:
        ValidationError: it is not JSON, or does not match.
        RequestEntityTooLarge: it is longer than `MAX_JSON_BYTES`.
        UnsupportedMediaType: its content type is not JSON.
    """
    request.max_content_length = MAX_JSON_BYTES
    body = request.get_data(cache=False)
    if optional and not body:
        return model()
    if not request.is_json:
        abort(415, "the body must be JSON, with the content type application/json")
    return model.model_validate_json(body)


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
