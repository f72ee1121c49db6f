"""Headers that confine what a page may do, and the refusal of requests that another site's page sends.

Refused are also requests under a name that is not ours (DNS rebinding: another site's name that suddenly leads to this
machine) and, without authentication, those from other machines, should a server listen there in spite of
`web_tier.security.bind_address`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

from core.settings import Settings, split_list
from web_tier.auth.sessions import is_loopback_host
from web_tier.security.bind_address import is_local
from web_tier.services import services

# No inline script or style, nothing from elsewhere; thumbnails of files still on the person's disk are blobs.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not "no-referrer": with that, browsers hide the Origin of our own form from us.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TRANSPORT_SECURITY = "max-age=31536000; includeSubDomains"
# A load balancer asks under the machine's address.
_PROBES = ("operations.health", "operations.ready")
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def init_app(app: Flask) -> None:
    """Protects every view of `app`."""
    app.before_request(_limit_silence)
    app.before_request(_refuse_strangers)
    app.before_request(_refuse_cross_site)
    app.after_request(_add_headers)


def _limit_silence() -> None:
    """Bounds how long a client may hold a thread by saying nothing; Gunicorn sets it back for each request."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(services().settings.client_silence_seconds)


def is_own_name(host: str, settings: Settings) -> bool:
    """Whether the web tier goes by the name in a Host header's value."""
    if is_loopback_host(host):
        return True
    names = split_list(settings.trusted_hosts.lower())
    if not names:
        return settings.authentication != "off"
    try:
        return urlsplit(f"//{host}").hostname in names
    except ValueError:
        return False


def _refuse_strangers() -> None:
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


def _refuse_cross_site() -> None:
    """403 for a request that changes something and that a page of another origin sent.

    Browsers name the sender in Sec-Fetch-Site or, on plain HTTP, in Origin; programs send neither.
    """
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        # Only the host is compared: a load balancer may speak HTTPS for us.
        own = origin is None or urlsplit(origin).netloc == request.host
    if not own:
        abort(403, "this request was sent by a page of another site")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        # Browsers must not believe it, and do not, when it comes by plain HTTP.
        response.headers["Strict-Transport-Security"] = _TRANSPORT_SECURITY
    return response
