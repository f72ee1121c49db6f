"""Clients that send the headers of their requests letter by letter, without an end."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import threading
import time
from types import TracebackType

from core.errors import ElasticError

_PAUSE_SECONDS = 1.0
_START = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
_OTHER_DESCRIPTORS = 500


class SlowClients:
    """Keeps `count` such connections open while the context lasts; those that the server closes are replaced.

    Attributes:
        opened: how many connections there were until now.
    """

    def __init__(self, port: int, count: int) -> None:
        self.opened = 0
        self._port = port
        self._count = count
        self._stop = threading.Event()
        self._all_open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow-clients", daemon=True)

    def __enter__(self) -> SlowClients:
        _raise_descriptor_limit(self._count + _OTHER_DESCRIPTORS)
        self._thread.start()
        self._all_open.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as closed:
            open_now: set[socket.socket] = set()
            while not self._stop.is_set():
                for key, _ in closed.select(0):
                    self._leave(key.fileobj, closed, open_now)  # type: ignore[arg-type]
                while len(open_now) < self._count:
                    connection = socket.create_connection(("127.0.0.1", self._port))
                    connection.sendall(_START)
                    connection.setblocking(False)
                    closed.register(connection, selectors.EVENT_READ)
                    open_now.add(connection)
                    self.opened += 1
                self._all_open.set()
                started = time.monotonic()
                for connection in list(open_now):
                    try:
                        connection.send(b"x")
                    except OSError:
                        self._leave(connection, closed, open_now)
                self._stop.wait(max(0.0, _PAUSE_SECONDS - (time.monotonic() - started)))
            for connection in open_now:
                connection.close()

    @staticmethod
    def _leave(connection: socket.socket, closed: selectors.BaseSelector, open_now: set[socket.socket]) -> None:
        with contextlib.suppress(KeyError):
            closed.unregister(connection)
        open_now.discard(connection)
        connection.close()


def _raise_descriptor_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and hard < needed:
        raise ElasticError(f"this needs {needed:,} open files; the limit of this machine is {hard:,}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
