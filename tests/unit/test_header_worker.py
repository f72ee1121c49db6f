"""Slow headers occupy no thread: real gunicorn processes with two threads and more slow clients than that."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.paths import REPOSITORY_ROOT
from web_tier.header_worker import (
    DRAIN_SECONDS,
    HEADER_SECONDS,
    MAX_HEADER_BYTES,
    HeaderWaitingWorker,
    connections_within,
    raised_descriptor_limit,
)

THREADS = 2
SLOW = 5 * THREADS
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
# A response comes at once, or never: nothing here waits for a timeout that passes.
_SECONDS = 60.0
_APP = """
def app(environ, start_response):
    body = b"" if environ["PATH_INFO"] == "/unread" else environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@contextlib.contextmanager
def gunicorn(folder: Path, *options: str) -> Iterator[int]:
    """A gunicorn process with one worker for `_APP`; its port."""
    (folder / "echo_app.py").write_text(_APP)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", str(THREADS)]
        command += ["--no-control-socket", "--chdir", str(folder), *options, "echo_app:app"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(REPOSITORY_ROOT), str(folder)))}
        process = subprocess.Popen(command, pass_fds=[listener.fileno()], env=environment, stderr=subprocess.DEVNULL)
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    worker_class = f"{HeaderWaitingWorker.__module__}.{HeaderWaitingWorker.__name__}"
    with gunicorn(tmp_path_factory.mktemp("app"), "--worker-class", worker_class, "--graceful-timeout", "1") as found:
        yield found


@contextlib.contextmanager
def connections(port: int, count: int, start: bytes) -> Iterator[Sequence[socket.socket]]:
    """Connections that have sent `start`."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), _SECONDS))
            connection.sendall(start)
            opened.append(connection)
        yield opened


def receive(connection: socket.socket) -> bytes:
    """A response with its body, whose length it names."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return received
        received += chunk
    header, _, body = received.partition(b"\r\n\r\n")
    [length] = re.findall(rb"\r\ncontent-length: ([0-9]+)", header.lower())
    while len(body) < int(length):
        body += connection.recv(65536)
    return header + b"\r\n\r\n" + body


def answers(port: int, body: bytes = b"photo") -> bool:
    """Whether a request is answered."""
    with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return receive(connection).endswith(body)


@pytest.mark.parametrize("start", [b"", b"G", GET], ids=["nothing", "a letter", "half a header"])
def test_slow_headers_occupy_no_thread(port: int, start: bytes) -> None:
    with connections(port, SLOW, start) as slow:
        for _ in range(3):
            assert answers(port)
        # They are not refused for it: each may still complete its header.
        for connection in slow:
            connection.sendall((GET + b"\r\n")[len(start) :])
            assert receive(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_header_may_come_letter_by_letter(port: int) -> None:
    with connections(port, 1, b"") as [connection]:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for letter in GET + b"\r\n":
            connection.sendall(bytes([letter]))
        assert receive(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_further_request_of_a_connection_is_waited_for_likewise(port: int) -> None:
    with connections(port, SLOW, GET + b"\r\n") as kept:
        for connection in kept:
            assert receive(connection).startswith(b"HTTP/1.1 200 OK")
            connection.sendall(b"GET /")
        assert answers(port)
        for connection in kept:
            connection.sendall(b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert receive(connection).startswith(b"HTTP/1.1 200 OK")


def test_the_beginning_of_a_header_behind_a_body_occupies_no_thread(port: int) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbodyGET / HT"
    with connections(port, SLOW, request) as behind:
        for connection in behind:
            assert receive(connection).endswith(b"body")
        assert answers(port)


def test_a_body_that_no_view_reads_is_hardly_waited_for(port: int) -> None:
    """As of a request without a token: gunicorn itself would wait for five seconds in a thread."""
    refused = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"
    with connections(port, SLOW, refused) as unfinished:
        for connection in unfinished:
            assert receive(connection).startswith(b"HTTP/1.1 200 OK")
            connection.sendall(b"x")
        assert answers(port)
        for connection in unfinished:
            assert connection.recv(100) == b"", "closed by the server"
    assert DRAIN_SECONDS < HEADER_SECONDS / 50
    with connections(port, 1, refused + b"x" * 99) as [connection]:
        assert receive(connection).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(GET + b"\r\n")
        assert receive(connection).startswith(b"HTTP/1.1 200 OK"), "a body that is complete is discarded"


def test_a_client_that_does_not_close_its_end_stops_nothing(port: int) -> None:
    """Gunicorn itself would wait for each of them, and answer no other request meanwhile."""
    with connections(port, SLOW, GET + b"Connection: close\r\n\r\n") as unclosed:
        for connection in unclosed:
            assert receive(connection).startswith(b"HTTP/1.1 200 OK")
        assert answers(port)
        for connection in unclosed:
            assert connection.recv(100) == b"", "closed by the server"


@pytest.mark.parametrize("start", [b"", GET])
def test_a_client_that_goes_away_leaves_nothing(port: int, start: bytes) -> None:
    for _ in range(SLOW):
        with connections(port, 1, start) as [connection]:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
    assert answers(port)


def test_a_header_without_end_is_refused(port: int) -> None:
    with connections(port, 1, GET) as [connection], contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(b"X: " + b"x" * MAX_HEADER_BYTES)
        assert receive(connection).startswith(b"HTTP/1.1 431")
    assert answers(port)


def test_large_bodies_pass(port: int) -> None:
    assert answers(port, bytes(range(256)) * 20_000)


def test_gunicorns_own_worker_would_be_stopped(tmp_path: Path) -> None:
    """What this class is for; if this fails, gunicorn bounds headers itself, and the class can go."""
    with gunicorn(tmp_path, "--worker-class", "gthread", "--graceful-timeout", "1") as port:
        assert answers(port)
        with connections(port, THREADS, GET), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.sendall(GET + b"\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(100)


def test_connections_leave_descriptors_for_requests() -> None:
    assert connections_within(16_384, 512) == 8192
    assert connections_within(4096, 512) == 4096 - 3 * 512
    assert connections_within(256, 512) == 513
    assert raised_descriptor_limit() >= 256
