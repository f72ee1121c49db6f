"""Refusal of requests under a foreign host name and, without authentication, of those from other machines.

A page of another site can have its own name lead to this machine (DNS rebinding); the browser then takes this server
for that site.  And a server may listen for other machines in spite of `web_tier.security.bind_address`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, abort, request

from core.settings import Settings, split_list
from web_tier.security.bind_address import is_local
from web_tier.services import services

# Load balancers send their probes to the machine's address.
_PROBES = ("operations.health", "operations.ready")


def init_app(app: Flask) -> None:
    """Checks the host name and the client's address of every request to `app`."""
    app.before_request(_check)


def is_loopback_host(host: str) -> bool:
    """Whether a Host header's value names this machine: ``localhost`` or a loopback address, with any port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_own_name(host: str, settings: Settings) -> bool:
    """Whether a Host header's value is a name of the web tier."""
    if is_loopback_host(host):
        return True
    names = split_list(settings.trusted_hosts.lower())
    if not names:
        return settings.authentication != "off"
    try:
        return urlsplit(f"//{host}").hostname in names
    except ValueError:
        return False


def _check() -> None:
    settings = services().settings
    if request.endpoint in _PROBES:
        return
    if settings.authentication == "off" and not _is_this_machine(request.remote_addr or ""):
        abort(403, "this server has no authentication and answers only its own machine")
    if not is_own_name(request.host, settings):
        abort(400, "this server does not go by that name; EIC_TRUSTED_HOSTS says by which ones it does")


def _is_this_machine(address: str) -> bool:
    # Over a UNIX socket there is no address.
    return not address or is_local((address,))
