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

# Nothing that browsers take for another host: "//host" and "/\host".
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


def init_app(app: Flask, proxies: int) -> None:
    """Applies the headers of as many proxies to the requests to `app`; those of more come from the client."""
    app.wsgi_app = _CheckedPrefix(app.wsgi_app)  # type: ignore[method-assign]
    if proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_prefix=proxies, x_host=0
        )


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
