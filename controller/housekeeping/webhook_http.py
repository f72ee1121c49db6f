"""Send webhook requests over HTTP, to public addresses only (protection against server-side request forgery).

The address is untrusted input.  The host is resolved once, every address that it resolves to must be public, and the
connection is made to one of the addresses that were checked, even if the name resolves to another one afterwards.
Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import urllib3

from controller.housekeeping.webhooks import DeliveryError
from core.webhooks import Address, Receiver, WebhookError, check_url, is_public

# For a whole request, from the connection to the response's headers, however slowly these arrive.  Resolving the name
# comes before; the system's resolver limits it.
DEADLINE_SECONDS = 10.0

Resolve = Callable[[str, int], list[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """Resolve a host to its addresses.

    Raises:
        DeliveryError: the host cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"the host {host!r} cannot be resolved") from error
    # A link-local IPv6 address ends with its zone, which `ip_address` does not need.
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def allowed_address(addresses: list[Address], *, allow_private: bool) -> Address:
    """The address to connect to.

    Raises:
        DeliveryError: there is none, or one of them is in a private network.
    """
    if not addresses or not (allow_private or all(is_public(address) for address in addresses)):
        raise DeliveryError("the host lies inside a private network")
    return addresses[0]


class Deadline:
    """Ends a connection after a time in which it must be finished: timeouts of sockets are for single bytes."""

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the time pass for the duration of the context."""
        self._timer.start()
        try:
            yield
        finally:
            self._timer.cancel()
            with self._lock:
                for watched in self._sockets:
                    watched.close()
                self._sockets.clear()

    def watch(self, connection: socket.socket) -> None:
        """End this connection when the time is over.

        Raises:
            TimeoutError: it is over already.
        """
        with self._lock:
            if self.expired:
                raise TimeoutError
            # A descriptor of its own: TLS takes the connection's away.
            self._sockets.append(connection.dup())

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for watched in self._sockets:
                with suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)


class HttpSender:
    """A `controller.housekeeping.webhooks.Sender` over HTTP; safe to share between threads.

    Args:
        allow_private: whether plain HTTP and addresses in private networks are allowed.
        deadline_seconds: for a whole request.
    """

    def __init__(
        self, *, allow_private: bool, resolve: Resolve = resolve, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._deadline_seconds = deadline_seconds

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        try:
            receiver = check_url(url, allow_private=self._allow_private)
        except WebhookError as error:
            raise DeliveryError(str(error)) from error
        address = allowed_address(self._resolve(receiver.host, receiver.port), allow_private=self._allow_private)
        deadline = Deadline(self._deadline_seconds)
        headers = {"Host": receiver.authority, "User-Agent": "elastic-image-classifier", **headers}
        with deadline.running(), _pool(receiver, address, deadline, self._deadline_seconds) as pool:
            status, problem = 0, None
            try:
                status = _post(pool, receiver.target, headers, body)
            except DeliveryError as error:
                if not deadline.expired:
                    raise
                problem = error
            # A response whose headers were cut off by the deadline looks complete.
            if deadline.expired:
                raise DeliveryError(f"the receiver took longer than {self._deadline_seconds:g} s") from problem
        if not 200 <= status < 300:
            raise DeliveryError(f"the receiver answered {status}")


def _pool(
    receiver: Receiver, address: Address, deadline: Deadline, timeout_seconds: float
) -> urllib3.HTTPConnectionPool:
    options: dict[str, Any] = {"timeout": urllib3.Timeout(timeout_seconds), "retries": False}
    if receiver.scheme == "https":
        # The connection is made to the checked address, but the certificate must be that of the host name.
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
            str(address),
            receiver.port,
            server_hostname=receiver.host,
            assert_hostname=receiver.host,
            cert_reqs="CERT_REQUIRED",
            **options,
        )
    else:
        pool = urllib3.HTTPConnectionPool(str(address), receiver.port, **options)
    base: Any = pool.ConnectionCls

    class Watched(base):  # type: ignore[misc]
        """A connection that the deadline ends, also while it is being encrypted."""

        def _new_conn(self) -> socket.socket:
            connection: socket.socket = super()._new_conn()
            deadline.watch(connection)
            return connection

    pool.ConnectionCls = Watched
    return pool


def _post(pool: urllib3.HTTPConnectionPool, target: str, headers: dict[str, str], body: bytes) -> int:
    try:
        # The response's body is untrusted and not needed, so it is not read.
        response = pool.request("POST", target, body=body, headers=headers, redirect=False, preload_content=False)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise DeliveryError(f"the receiver could not be reached: {type(error).__name__}") from error
    status = response.status
    response.close()
    return status
