"""A worker class of gunicorn whose connections get a thread only when the header of their request has arrived.

Gunicorn's own threaded worker reads a header in a thread, without a limit on the time: as many connections as there
are threads, each of which sends a letter now and then, stop the server.  And its event loop waits, for two seconds
each, for clients to close the connections that it closes.  Here both wait beside the event loop, which costs a
descriptor each, for at most `HEADER_SECONDS` and `LINGER_SECONDS`.

The header stays in the socket while it is incomplete (``MSG_PEEK``), so that gunicorn's parser reads it as ever.
``SO_RCVLOWAT`` keeps the event loop from waking up for what it has seen already.
"""

from __future__ import annotations

import errno
import resource
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

HEADER_SECONDS = 10.0
LINGER_SECONDS = 2.0
DRAIN_SECONDS = 0.1
_LINGER_BYTES = 64 * 1024
# Fits into the smallest buffer that Linux gives a connection; browsers and proxies send a few KiB at most.
MAX_HEADER_BYTES = 32 * 1024
MAX_CONNECTIONS = 8192
_DESCRIPTORS = 16_384
_DESCRIPTORS_PER_THREAD = 3
_END = b"\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def raised_descriptor_limit() -> int:
    """Raise this process's limit on open files as far as it may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def connections_within(descriptors: int, threads: int) -> int:
    """How many connections a process may have, at `_DESCRIPTORS_PER_THREAD` other open files for each thread."""
    return max(threads + 1, min(MAX_CONNECTIONS, descriptors - _DESCRIPTORS_PER_THREAD * threads))


class HeaderWaitingWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that bounds the time for headers.

    Over TLS that gunicorn itself terminates, and from UNIX sockets, headers are read as by `ThreadWorker`: the former
    cannot be looked at, and the latter come from a proxy on this machine.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Connections that are closed when their clients have closed them, in the order of their timeouts.
        self.lingering: deque[TConn] = deque()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and wait for the header of its first request."""
        if self._has_no_limits(listener):
            super().accept(listener)
            return
        try:
            client, address = listener.accept()
        except OSError as error:
            # Another process was faster, the client has gone, or descriptors are short for the moment.
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
                return
            raise
        self.nr_conns += 1
        self._wait_for_header(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Wait for the header of a further request, which has begun to arrive."""
        if self._has_no_limits(client):
            super().on_client_socket_readable(conn, client)
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._wait_for_header(conn)

    def on_pending_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Give a connection to a thread if its header has arrived, or if nothing more will come."""
        try:
            seen = client.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        if _END not in seen and len(seen) > conn.seen_bytes:
            conn.seen_bytes = len(seen)
            if len(seen) < MAX_HEADER_BYTES:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1)
            else:
                self._refuse(conn, client)
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        super().on_pending_socket_readable(conn, client)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Keep a connection for its next request, or close it.

        It is closed, too, if the beginning of a further header was read with the last body.
        """
        if self._has_no_limits(conn.sock) or _is_kept(conn, fs):
            super().finish_request(conn, fs)
        else:
            self._linger(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether a connection may have further requests: not if the rest of a body that no view read is missing.

        In a thread, as this runs, gunicorn itself waits five seconds for it.  The client's end is waited for anyway.
        """
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + DRAIN_SECONDS))

    def murder_pending(self) -> None:
        """Close connections whose time is over: for a header, or for the client's end of the connection."""
        super().murder_pending()
        now = time.monotonic()
        while self.lingering and self.lingering[0].timeout <= now:
            self._end(self.lingering[0])

    def _has_no_limits(self, client: socket.socket) -> bool:
        return bool(self.cfg.is_ssl) or client.family == socket.AF_UNIX

    def _linger(self, conn: TConn) -> None:
        """Send the end of the response, and wait for that of the client before the connection is closed.

        A reset would lose the response of a client that is still sending.  Gunicorn waits for the same reason, but in
        the event loop, which a client that never closes its end stops so.
        """
        conn.timeout = time.monotonic() + LINGER_SECONDS
        conn.seen_bytes = 0
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._discard, conn))
        except (OSError, ValueError):
            self.nr_conns -= 1
            conn.close()
            return
        self.lingering.append(conn)

    def _discard(self, conn: TConn, client: socket.socket) -> None:
        try:
            discarded = len(client.recv(_LINGER_BYTES))
        except BlockingIOError:
            return
        except OSError:
            discarded = 0
        conn.seen_bytes += discarded
        if not discarded or conn.seen_bytes >= _LINGER_BYTES:
            self._end(conn)

    def _end(self, conn: TConn) -> None:
        self.lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _wait_for_header(self, conn: TConn) -> None:
        conn.seen_bytes = 0
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEADER_SECONDS
        self.pending_conns.append(conn)
        readable: Callable[[socket.socket], None] = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, EVENT_READ, readable)

    def _refuse(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        try:
            client.send(_TOO_LARGE)
        except OSError as error:
            self.log.debug("refusing a header: %s", error)
        self.nr_conns -= 1
        conn.close()


def _is_kept(conn: TConn, fs: Future[Any]) -> bool:
    """Whether a connection may have further requests.

    Not if the beginning of a header, but not all of it, has left the socket already: a thread would wait for the rest.
    """
    if fs.cancelled() or fs.exception() is not None or not fs.result():
        return False
    ahead: bytes = conn.parser.unreader.buf.getvalue()
    return not ahead or _END in ahead
