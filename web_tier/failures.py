"""What goes wrong, told in the language of who asked: problem+json below /api, a page elsewhere."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError

from core.errors import CloudError, NotFoundError
from web_tier.feed import CursorError
from web_tier.multipart import UploadFormatError

API_PREFIX = "/api/"
_RETRY_AFTER_SECONDS = 5

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Registers the handlers of errors that views let pass."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFoundError, _not_found)
    app.register_error_handler(CloudError, _cloud_error)
    app.register_error_handler(UploadFormatError, lambda error: failure(400, "Bad Request", str(error)))
    app.register_error_handler(CursorError, lambda error: failure(400, "Bad Request", str(error)))


def failure(status: int, title: str, detail: str) -> Response:
    """The answer for a request that failed (RFC 9457 for programs)."""
    if request.path.startswith(API_PREFIX):
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        return Response(body, status, mimetype="application/problem+json")
    return make_response(render_template("failure.html", title=title, detail=detail), status)


def _not_found(_error: NotFoundError) -> Response:
    return failure(404, "Not Found", "there is no such batch or image")


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, InternalServerError):
        # Flask has logged the traceback.
        error.description = "something went wrong on our side"
    if error.response is not None or (error.code or 500) < 400:
        return error.get_response()  # type: ignore[return-value]
    response = failure(error.code or 500, error.name, error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    return response


def _cloud_error(error: CloudError) -> Response:
    log.warning("%s %s: %s", request.method, request.path, error)
    response = failure(503, "Service Unavailable", "the storage does not answer at the moment; please try again soon")
    response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response
