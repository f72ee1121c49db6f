"""The emulator's HTTP server: werkzeug's, with connections that are kept open between requests.

werkzeug closes each connection after one request, since it does not read what is left of a request's body.  A new
connection, and a thread for it, are up to half of the processor time of a small request, in the client as well.
"""

from __future__ import annotations

import logging
from typing import IO, TYPE_CHECKING

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.exceptions import ClientDisconnected, InternalServerError
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wsgi import LimitedStream

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

HOST = "127.0.0.1"

_CHUNK_BYTES = 64 * 2**10
_WITHOUT_BODY = {204, 304}


class _KeepAliveHandler(MotoRequestHandler):
    """Handles the requests of a connection, one after another, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    # Headers and body are written to a buffer, which is sent at once.
    wbufsize = _CHUNK_BYTES
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Handles one request; a `ConnectionError` of the application closes the connection without a response."""
        self.environ = environ = self.make_environ()
        body = _body(environ)
        if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        try:
            try:
                parts, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
            except ConnectionError:
                raise
            except Exception:
                log.exception("%s %s", self.command, self.path)
                parts, status, headers = run_wsgi_app(InternalServerError(), environ, buffered=True)
            while body.read(_CHUNK_BYTES):
                pass
        except (ConnectionError, ClientDisconnected):
            self.close_connection = True
            return
        content = b"".join(parts)
        self.send_response_only(int(status[:3]), status[4:])
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and int(status[:3]) not in _WITHOUT_BODY:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Logs nothing: a line for each request costs time, and the tiers have their own logs."""


def _body(environ: WSGIEnvironment) -> IO[bytes]:
    """The request's body, which ends where the next request begins."""
    if not environ.get("wsgi.input_terminated"):
        environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input_terminated"] = True
    body: IO[bytes] = environ["wsgi.input"]
    return body


def create_http_server(app: WSGIApplication, port: int, listener: int | None = None) -> BaseWSGIServer:
    """Creates a server bound to `port` of the loopback interface (0: a free one), with a thread for each connection.

    Args:
        listener: the descriptor of a listening socket that is used instead.

    Raises:
        SystemExit: the port is in use.
    """
    return make_server(HOST, port, app, threaded=True, request_handler=_KeepAliveHandler, fd=listener)
