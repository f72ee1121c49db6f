"""Protection against request forgery (CSRF): requests that change something must come from a page of our own origin.

A browser sends a session's cookie by itself, and reaches a server on loopback, also when a page of another site makes
it send the request.  It names the page's origin in headers that no page can set, which decide:

1. GET, HEAD and OPTIONS change nothing here and pass.
2. With ``Sec-Fetch-Site``, ``same-origin`` (a page of ours) and ``none`` (the person's own doing, such as a bookmark)
   pass; ``same-site`` and ``cross-site`` are refused.  Browsers have sent it since 2020 to 2023, over HTTPS and to
   loopback.
3. Otherwise ``Origin`` must be the origin under which the request arrived, in scheme, host and port.  Every browser
   has sent it with such requests since 2020.  The scheme is what the load balancer reports, where
   ``EIC_FORWARDED_PROXIES`` says that there is one.
4. With neither header, a program sent the request, or a browser older than that.  It passes unless a cookie
   authenticates it, or it would begin a session.

The published algorithm passes all of 4.  Ours refuses where an old browser could be misused: programs use tokens.

Sources: F. Valsorda, https://words.filippo.io/csrf/, as in Go's ``net/http.CrossOriginProtection`` and datasette's
``csrf.py``; OWASP, Cross-Site Request Forgery Prevention Cheat Sheet, "Fetch Metadata headers";
docs/adr/0017-request-origin-instead-of-form-tokens.md.
"""

from __future__ import annotations

from flask import Flask, abort, request, session

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_OWN_SITES = ("same-origin", "none")
# Begins a session for the token in its form: forged, it would sign a person in as another owner (login CSRF).
_SIGN_IN = "sign_in.sign_in"
_CROSS_ORIGIN = "this request was sent by a page of another site"
_NO_ORIGIN = "this request names no origin (Sec-Fetch-Site, Origin) as browsers do; programs use an access token"


def init_app(app: Flask) -> None:
    """Refuses forged requests to every view of `app` with 403."""
    app.before_request(_check)


def refusal(method: str, site: str | None, origin: str | None, own_origin: str, *, origin_required: bool) -> str | None:
    """The reason to refuse a request; None for one that passes.

    Args:
        site: the header ``Sec-Fetch-Site``.
        origin: the header ``Origin``.
        own_origin: scheme, host and port under which the request arrived, as browsers write an origin: without the
            scheme's default port.
        origin_required: whether a request with neither header is refused.
    """
    if method in SAFE_METHODS:
        return None
    if site is not None:
        return None if site in _OWN_SITES else _CROSS_ORIGIN
    if origin is not None:
        return None if origin.lower() == own_origin.lower() else _CROSS_ORIGIN
    return _NO_ORIGIN if origin_required else None


def _check() -> None:
    if request.method in SAFE_METHODS:
        return
    reason = refusal(
        request.method,
        request.headers.get("Sec-Fetch-Site"),
        request.headers.get("Origin"),
        f"{request.scheme}://{request.host}",
        origin_required="token_id" in session or request.endpoint == _SIGN_IN,
    )
    if reason is not None:
        abort(403, reason)
