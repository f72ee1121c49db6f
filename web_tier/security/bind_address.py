"""Check of the addresses to listen on: without authentication, only those that this machine alone reaches."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from core.errors import SettingsError


def check_addresses(addresses: Iterable[Any], authentication: str) -> None:
    """Checks the addresses of listening sockets.

    Args:
        addresses: as ``getsockname`` gives them: a path, or a host's numeric address and a port.
        authentication: the setting.

    Raises:
        SettingsError: there is no authentication, and one is reachable from other machines.
    """
    if authentication != "off":
        return
    exposed = [address for address in addresses if not is_local(address)]
    if exposed:
        shown = ", ".join(f"{address[0]} port {address[1]}" for address in exposed)
        raise SettingsError(
            f"the web tier will not listen on {shown} without authentication: set EIC_AUTHENTICATION=tokens, or bind "
            "to 127.0.0.1"
        )


def is_local(address: Any) -> bool:
    """Whether only this machine reaches a socket's address: a path, or a tuple that begins with a numeric address."""
    if isinstance(address, (str, bytes)):
        # A UNIX socket; an empty name is one, too.
        return True
    if address[0] == "localhost":
        return True
    try:
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)
