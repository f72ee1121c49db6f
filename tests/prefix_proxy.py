"""A reverse proxy on loopback that serves a web tier below a path prefix, and may hold event streams back."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length", "host"}
_CHUNK_BYTES = 64 * 1024


class PrefixProxy(http.server.ThreadingHTTPServer):
    """Forwards what is asked for below `prefix`, which it removes and names in ``X-Forwarded-Prefix``.

    Args:
        target: the web tier's address.
        prefix: begins with a slash and ends without one.
        hold_events: sends an event stream only when the web tier has ended it.

    Attributes:
        outside: paths that were asked for outside of the prefix; each got 404.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str, prefix: str, *, hold_events: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.prefix = prefix
        self.hold_events = hold_events
        self.outside: list[str] = []

    @property
    def url(self) -> str:
        """The address of the web tier's first page, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"


@contextlib.contextmanager
def prefix_proxy(target: str, prefix: str, *, hold_events: bool = False) -> Iterator[PrefixProxy]:
    """A running proxy."""
    with PrefixProxy(target, prefix, hold_events=hold_events) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: PrefixProxy

    def handle_one_request(self) -> None:
        # A browser that leaves a page breaks its connections off, and the web tier those that it has when it stops.
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            super().handle_one_request()

    def _forward(self) -> None:
        if not self.path.startswith(f"{self.server.prefix}/"):
            self.server.outside.append(self.path)
            self.send_error(404)
            return
        connection = http.client.HTTPConnection(self.server.target)
        with contextlib.closing(connection):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection.request(self.command, self.path.removeprefix(self.server.prefix), body, self._headers())
            self._answer(connection.getresponse())

    do_GET = do_POST = do_DELETE = _forward

    def _headers(self) -> dict[str, str]:
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        return {
            **kept,
            "Host": self.headers["Host"],
            "X-Forwarded-For": self.client_address[0],
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Prefix": self.server.prefix,
        }

    def _answer(self, response: http.client.HTTPResponse) -> None:
        held = self.server.hold_events and response.getheader("Content-Type", "").startswith("text/event-stream")
        first = response.read() if held else b""
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(first)
        while chunk := response.read1(_CHUNK_BYTES):
            self.wfile.write(chunk)
            self.wfile.flush()

    def log_message(self, *_arguments: object) -> None:
        pass
