"""Headers that confine what a page may do, and the refusal of requests that another site's page sends."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

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
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def init_app(app: Flask) -> None:
    """Protects every view of `app`."""
    app.before_request(_refuse_cross_site)
    app.after_request(_add_headers)


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
    return response
