"""The emulator's HTTP server: connections that serve several requests."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pytest
from werkzeug.wrappers import Request, Response

from local_cloud.http_server import create_http_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def _app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    request = Request(environ)
    if request.path == "/cut":
        raise ConnectionAbortedError
    if request.path == "/fault":
        raise ValueError(request.path)
    body = b"" if request.path == "/unread" else request.get_data()
    status = 204 if request.path == "/none" else 200
    return Response(body, status, {"x-amz-meta-a_b": "c"})(environ, start_response)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = create_http_server(_app, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()


_BODY = b"GET /smuggled HTTP/1.1\r\n\r\n" * 9000


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "answer"),
    [
        ("PUT", "/key", _BODY, {}, 200, _BODY),
        ("PUT", "/key", b"", {}, 200, b""),
        ("PUT", "/key", b"", {"Expect": "100-continue"}, 200, b""),
        ("PUT", "/key", iter([b"in", b"", b" parts"]), {}, 200, b"in parts"),
        ("PUT", "/unread", _BODY, {}, 200, b""),
        ("PUT", "/unread", iter([_BODY]), {}, 200, b""),
        ("HEAD", "/key", None, {}, 200, b""),
        ("GET", "/none", None, {}, 204, b""),
        ("PUT", "/fault", _BODY, {}, 500, None),
    ],
)
def test_a_connection_serves_the_next_request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None,
    headers: dict[str, str],
    status: int,
    answer: bytes | None,
) -> None:
    connection.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes | None))
    response = connection.getresponse()
    content = response.read()
    assert response.status == status
    assert answer in (None, content)
    used = connection.sock
    connection.request("PUT", "/next", b"next")
    response = connection.getresponse()
    assert (response.status, response.read(), response.headers["x-amz-meta-a_b"]) == (200, b"next", "c")
    assert "x-amz-meta-a_b" in response.headers.keys()  # noqa: SIM118 - as it is spelled
    assert connection.sock is used is not None


def test_the_client_may_ask_to_close_the_connection(connection: http.client.HTTPConnection) -> None:
    connection.request("PUT", "/key", b"body", {"Connection": "close"})
    assert connection.getresponse().read() == b"body"
    assert connection.sock is None or connection.sock.recv(1) == b""


def test_a_connection_error_of_the_application_ends_the_connection_without_a_response(
    connection: http.client.HTTPConnection,
) -> None:
    connection.request("PUT", "/cut", b"body")
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
