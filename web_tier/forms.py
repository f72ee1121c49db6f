"""The files in the body of the current request."""

from __future__ import annotations

from collections.abc import Iterator

from flask import request

from web_tier.multipart import UploadedFile, boundary_of, read_files
from web_tier.services import services


def uploaded_files() -> Iterator[UploadedFile]:
    """Yields the request's files as they arrive.

    Raises:
        UploadFormatError: at once where the request is not multipart, later where its body is malformed.
    """
    settings = services().settings
    boundary = boundary_of(request.content_type or "")
    # Parts beyond the batch's limit are still reported by name, up to a second batch's worth.
    return read_files(request.stream, boundary, settings.max_image_bytes, 2 * settings.max_batch_images)
