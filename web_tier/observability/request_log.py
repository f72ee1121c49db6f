"""Request log: one line for each request that changes something or fails; polling and images only at DEBUG."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Logs the requests to `app`."""
    app.before_request(_start)
    app.after_request(_log)


def _start() -> None:
    g.started_seconds = time.monotonic()


def _log(response: Response) -> Response:
    level = logging.DEBUG if request.method in ("GET", "HEAD") and response.status_code < 400 else logging.INFO
    duration = time.monotonic() - g.get("started_seconds", time.monotonic())
    # %r: a path may hold any character, a line break among them.
    log.log(level, "%s %r %d %.3f s", request.method, request.path, response.status_code, duration)
    return response
