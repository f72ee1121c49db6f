"""What the trusted proxies in front say about a request: the client's address, its scheme, and the path's prefix.

A proxy that serves this program below a prefix, such as ``https://example.org/photos/``, removes the prefix from the
path and sends it as ``X-Forwarded-Prefix``.  A WSGI server can set ``SCRIPT_NAME`` instead.  Both reach the views as
``request.script_root``, with which `url_for` begins every URL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.exceptions import BadRequest
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# A name or an address, and perhaps a port: the authority of a URL without what no client sends in this header.
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
_MAX_HOST_CHARACTERS = 260
# Nothing that browsers take for another host: "//host" and "/\host".
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


def init_app(app: Flask, proxies: int) -> None:
    """Applies the headers of as many proxies to the requests to `app`; those of more come from the client."""
    app.wsgi_app = _CheckedPrefix(app.wsgi_app)  # type: ignore[method-assign]
    app.wsgi_app = _CheckedRequest(app.wsgi_app)  # type: ignore[method-assign]
    if proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_prefix=proxies, x_host=0
        )


def is_well_formed(host: str) -> bool:
    """Whether a Host header's value can be that of a URL.  It may be empty, as in requests of HTTP/1.0."""
    if host and (len(host) > _MAX_HOST_CHARACTERS or _HOST.fullmatch(host) is None):
        return False
    try:
        host.encode("ascii").decode("idna")
    except UnicodeError:
        return False
    return True


class _CheckedRequest:
    """Refuses a malformed host or query before Flask reads it, which would fail, and with it the error page."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not is_well_formed(environ.get("HTTP_HOST", "")):
            return BadRequest("The host of this request is malformed.")(environ, start_response)
        try:
            environ.get("QUERY_STRING", "").encode("latin-1").decode()
        except UnicodeError:
            return BadRequest("The query of this request is not in UTF-8.")(environ, start_response)
        return self._app(environ, start_response)


class _CheckedPrefix:
    """Refuses a prefix that would turn the URLs of a page into those of another host."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefix = environ.get("SCRIPT_NAME", "")
        if _PREFIX.fullmatch(prefix) is None:
            return BadRequest("The path prefix of this request is not a path.")(environ, start_response)
        environ["SCRIPT_NAME"] = prefix.rstrip("/")
        return self._app(environ, start_response)
