"""A disk without room for large files, while an application handles requests."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask

# Above what an upload keeps in memory.
FULL_DISK_BYTES = 1536 * 1024


@contextlib.contextmanager
def full_disk(app: Flask) -> Iterator[None]:
    """Let `app` write no file larger than `FULL_DISK_BYTES`: as on a full disk, writing raises `OSError`.

    The test client, which builds a request's body before it is sent, is not concerned.
    """
    handle = app.wsgi_app

    def limited(*arguments: Any) -> Iterable[bytes]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, hard))
        try:
            return handle(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    app.__dict__["wsgi_app"] = limited
    try:
        yield
    finally:
        app.__dict__["wsgi_app"] = handle
