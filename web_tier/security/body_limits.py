"""Limits on request bodies, set before anything of a body is read or its client is authenticated.

Every view may read a small body.  A larger one, or a form with files, needs an entry in the table here: a new view is
limited until it has one.  `MAX_CONTENT_LENGTH` alone would be one limit for all of them, and Flask would write the
files of any form to disk as soon as a view looks at a field of it.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass

from flask import Flask, abort, request

_KIB, _MIB = 1024, 1024 * 1024
# Forms without files, and JSON objects with a few fields.
SMALL_BODY_BYTES = 16 * _KIB
# A JSON value costs the parser up to so much memory, however short its text: an empty object is the most.
JSON_VALUE_BYTES = 440
# A JSON body is in memory as bytes, as parsed text, and as what is made of it.
_JSON_COPIES = 3


class Files(enum.Enum):
    """Whether a view takes files, which it reads as they arrive."""

    NONE = enum.auto()
    FORM = enum.auto()
    # A form with one file, or the file as the body.
    FORM_OR_BODY = enum.auto()


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """What a view may read.

    Attributes:
        max_bytes: length of a body that is no file.
        max_json_values: in JSON, how many arrays, objects and values, as `web_tier.api.request_body` counts them.
    """

    max_bytes: int = SMALL_BODY_BYTES
    max_json_values: int = 1000
    files: Files = Files.NONE

    def json_memory_bytes(self, size_bytes: int, values: int) -> int:
        """Memory that a JSON body takes while it is processed, at most."""
        return _JSON_COPIES * size_bytes + JSON_VALUE_BYTES * min(values, self.max_json_values)


DEFAULT = BodyLimit()
LIMITS = {
    "pages.create_batch": BodyLimit(files=Files.FORM),
    "pages.add_images": BodyLimit(files=Files.FORM),
    "compat.classify": BodyLimit(files=Files.FORM),
    # Images in base64; a thousand of them at most.
    "api_images.add_images": BodyLimit(32 * _MIB, 10_000, Files.FORM),
    "api_classify.classify": BodyLimit(32 * _MIB, 1000, Files.FORM_OR_BODY),
    # The names of 100,000 files, in four values each.
    "api_images.plan_upload": BodyLimit(32 * _MIB, 310_000),
    # A thousand names of 4,096 bytes, which JSON may write three times as long; a thousand keys of 1,024 bytes.
    "api_images.permit_uploads": BodyLimit(16 * _MIB, 10_000),
    "api_images.complete_uploads": BodyLimit(2 * _MIB, 2000),
}


def init_app(app: Flask) -> None:
    """Sets the limits of every request to `app`; register it before whatever may read a body."""
    app.before_request(_limit)


def current() -> BodyLimit:
    """The limits of the current request's view."""
    return LIMITS.get(request.endpoint or "", DEFAULT)


def _limit() -> None:
    limit = current()
    is_form_with_files = request.mimetype.startswith("multipart/")
    if is_form_with_files and limit.files is Files.NONE:
        abort(415, "no files are expected here; send a form without files as application/x-www-form-urlencoded")
    is_file = limit.files is Files.FORM_OR_BODY and (
        request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream"
    )
    # Of a body with files, each file is limited, and their number.
    request.max_content_length = sys.maxsize if is_form_with_files or is_file else limit.max_bytes
