"""Error responses in the form that the client expects: problem+json below /api, a line of text, or a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, make_response, render_template, request
from gunicorn.http.errors import ParseException
from pydantic import ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException, InternalServerError

from core.errors import CloudError, NotFoundError, SpoolError
from web_tier.domain.batch_watcher import TooManyViewersError
from web_tier.domain.memory import MemoryBusyError
from web_tier.domain.multipart import UploadFormatError
from web_tier.domain.result_pagination import CursorError
from web_tier.domain.result_waiter import TooManyWaitingError, WaitFailedError
from web_tier.languages.sentences import translated

API_PREFIX = "/api/"
# Outside the API, but called by programs, too.
_PROGRAM_PATHS = ("/healthz", "/readyz", "/metrics")
# Its clients expect one line of text.
_TEXT_ENDPOINT = "compat.classify"
_RETRY_AFTER_SECONDS = 5
_MAX_ERRORS = 20
_MALFORMED_BODY = "the request's body is malformed or incomplete"

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Registers handlers for the errors that views raise."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFoundError, _not_found)
    app.register_error_handler(CloudError, _cloud_error)
    app.register_error_handler(UploadFormatError, lambda error: failure(400, "Bad Request", str(error)))
    app.register_error_handler(CursorError, lambda error: failure(400, "Bad Request", str(error)))
    app.register_error_handler(TimeoutError, _timeout)
    app.register_error_handler(ParseException, _malformed_body)
    app.register_error_handler(ValidationError, validation_failure)
    for error in (TooManyWaitingError, TooManyViewersError, WaitFailedError, MemoryBusyError, SpoolError):
        app.register_error_handler(error, lambda error: try_again(str(error)))


def failure(
    status: int,
    title: str,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The response to a failed request (RFC 9457 for programs).

    Title and detail are in the language of the request, where they are known to `web_tier.languages.sentences`.

    Args:
        errors: the invalid fields of the request, each with a message.
        more: further members of the problem document.
    """
    title, detail = translated(title), translated(detail)
    if request.path.startswith((API_PREFIX, *_PROGRAM_PATHS)):
        fields: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if errors is not None:
            fields["errors"] = errors
        fields.update(more or {})
        return Response(json.dumps(fields), status, mimetype="application/problem+json")
    if request.endpoint == _TEXT_ENDPOINT:
        return Response(" ".join(detail.split()), status, mimetype="text/plain")
    return make_response(render_template("failure.html", title=title, detail=detail), status)


def try_again(detail: str, more: Mapping[str, Any] | None = None) -> Response:
    """The 503 response to a request that may succeed a little later; `more` as in `failure`."""
    response = failure(503, "Service Unavailable", detail, more=more)
    response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def validation_failure(error: ValidationError) -> Response:
    """The response to a request that does not match the OpenAPI document's schema."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return failure(400, "Bad Request", "the body is not JSON")
    errors = [
        {"field": ".".join(str(part) for part in entry["loc"]) or "body", "message": entry["msg"]}
        for entry in found[:_MAX_ERRORS]
    ]
    first = errors[0]
    return failure(422, "Unprocessable Content", f"{first['field']}: {first['message']}", errors)


def _not_found(_error: NotFoundError) -> Response:
    return failure(404, "Not Found", "there is no such batch or image")


def _malformed_body(_error: ParseException) -> Response:
    """The response to a body whose chunks gunicorn cannot read; nor can it read what follows on the connection."""
    response = failure(400, "Bad Request", _MALFORMED_BODY)
    response.headers["Connection"] = "close"
    return response


def _timeout(_error: Exception) -> Response:
    response = failure(408, "Request Timeout", "the request did not arrive in time")
    response.headers["Connection"] = "close"
    return response


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, ClientDisconnected):
        # Werkzeug raises it for whatever happens while a body is read: silence, or a malformed chunk.
        if isinstance(error.__context__, TimeoutError):
            return _timeout(error)
        error.description = _MALFORMED_BODY
    if isinstance(error, InternalServerError):
        # Flask has logged the traceback.
        error.description = "something went wrong on our side"
    if error.response is not None or (error.code or 500) < 400:
        return error.get_response()  # type: ignore[return-value]
    response = failure(error.code or 500, error.name, error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after", "www-authenticate"):
            response.headers[name] = value
    return response


def _cloud_error(error: CloudError) -> Response:
    log.warning("%s %s: %s", request.method, request.path, error)
    return try_again("the storage does not answer at the moment; please try again soon")
