"""Send webhook requests over HTTP, to public addresses only (protection against server-side request forgery).

The address is untrusted input.  The host is resolved once, every address that it resolves to must be public, and the
connection is made to one of the addresses that were checked, even if the name resolves to another one afterwards.
Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import urllib3

from controller.housekeeping.webhooks import DeliveryError
from core.webhooks import Address, WebhookError, check_url, is_public

TIMEOUT_SECONDS = 10.0

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


class HttpSender:
    """A `controller.housekeeping.webhooks.Sender` over HTTP.

    Args:
        allow_private: whether plain HTTP and addresses in private networks are allowed.
    """

    def __init__(self, *, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    def __call__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        try:
            parts = check_url(url, allow_private=self._allow_private)
        except WebhookError as error:
            raise DeliveryError(str(error)) from error
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = allowed_address(self._resolve(host, port), allow_private=self._allow_private)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        options: dict[str, Any] = {"timeout": urllib3.Timeout(TIMEOUT_SECONDS), "retries": False}
        if parts.scheme == "https":
            # The connection is made to the checked address, but the certificate must be that of the host name.
            pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
                str(address), port, server_hostname=host, assert_hostname=host, cert_reqs="CERT_REQUIRED", **options
            )
        else:
            pool = urllib3.HTTPConnectionPool(str(address), port, **options)
        with pool:
            status = _post(
                pool, target, {"Host": parts.netloc, "User-Agent": "elastic-image-classifier", **headers}, body
            )
        if not 200 <= status < 300:
            raise DeliveryError(f"the receiver answered {status}")


def _post(pool: urllib3.HTTPConnectionPool, target: str, headers: dict[str, str], body: bytes) -> int:
    try:
        # The response's body is untrusted and not needed, so it is not read.
        response = pool.request("POST", target, body=body, headers=headers, redirect=False, preload_content=False)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise DeliveryError(f"the receiver could not be reached: {type(error).__name__}") from error
    status = response.status
    response.close()
    return status
