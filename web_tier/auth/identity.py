"""Authentication: the identity behind an access token or a session that was begun with one."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flask import Flask, abort, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from core.errors import CloudError
from core.tokens import SCOPES, AccessToken, parse
from web_tier.auth import scopes
from web_tier.auth.sessions import SESSION_SECONDS
from web_tier.security import audit_log
from web_tier.services import services

LOCAL_OWNER = "local"
# Blueprints for people: without identity, a browser is redirected to the sign-in form.
_PAGES = ("pages", "fleet_pages", "bulk_pages")


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated client.

    Attributes:
        by_cookie: whether a session's cookie authenticates the request, not the ``Authorization`` header.
    """

    owner: str
    token_id: str
    scopes: tuple[str, ...]
    images_per_day: int
    by_cookie: bool


LOCAL = Identity(LOCAL_OWNER, "", SCOPES, 0, by_cookie=False)


def init_app(app: Flask) -> None:
    """Refuses requests to `app` whose identity lacks the scope that the view requires."""
    app.before_request(_enforce)
    app.jinja_env.globals.update(signed_in_owner=signed_in_owner, has_scope=has_scope)


def identity() -> Identity | None:
    """The identity of the current request's client; None where it is not authenticated.

    Raises:
        CloudError: S3 failed.
    """
    if "identity" not in g:
        g.identity = _authenticate()
    found: Identity | None = g.identity
    return found


def signed_in_owner() -> str:
    """The owner of the current session, for pages (error pages included); empty where there is none."""
    try:
        found = identity()
    except CloudError:
        return ""
    return found.owner if found is not None and found.by_cookie else ""


def has_scope(scope: str) -> bool:
    """Whether the current request's client has a scope, for pages (error pages included)."""
    try:
        found = identity()
    except CloudError:
        return False
    return found is not None and scope in found.scopes


def valid_token(text: str) -> AccessToken | None:
    """The record of the token with this text; None where there is none, or it has expired.

    Raises:
        CloudError: S3 failed.
    """
    parts = parse(text)
    token = services().tokens.get(parts[0]) if parts else None
    if parts is None or token is None or not token.accepts(parts[1]) or not token.is_valid(time.time()):
        return None
    return token


def _authenticate() -> Identity | None:
    if services().settings.authentication == "off":
        return LOCAL
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, credentials = header.partition(" ")
        token = valid_token(credentials.strip()) if scheme.lower() == "bearer" else None
    else:
        token = _token_of_session()
    if token is None:
        return None
    return Identity(token.owner, token.token_id, token.scopes, token.images_per_day, by_cookie=header is None)


def _token_of_session() -> AccessToken | None:
    token_id, session_id, since = (session.get(name) for name in ("token_id", "session_id", "since"))
    now = time.time()
    if token_id is None or session_id is None or since is None or not now < since + SESSION_SECONDS:
        return None
    if services().ended_sessions.get(session_id):
        return None
    token = services().tokens.get(token_id)
    return token if token is not None and token.is_valid(now) else None


def _enforce() -> ResponseReturnValue | None:
    # Without an endpoint, 404 or 405 follow.
    if services().settings.authentication == "off" or request.endpoint is None:
        return None
    scope = scopes.required(request.endpoint)
    if scope == scopes.PUBLIC:
        return None
    rates = services().rate_limits
    rates.check_unauthenticated()
    found = identity()
    if found is None:
        rates.count_unauthenticated()
        return _demand_authentication()
    rates.count_request(found.token_id)
    if services().tokens.is_new_address(found.token_id, request.remote_addr or ""):
        audit_log.record("token_used", by="cookie" if found.by_cookie else "header")
    if scope not in found.scopes:
        audit_log.record("authorization", "refused", scope=scope or "none")
        abort(403, f"this access token lacks the scope {scope}" if scope else "this route is closed")
    return None


def _demand_authentication() -> ResponseReturnValue:
    shown = "Authorization" in request.headers
    if shown or "token_id" in session:
        audit_log.record("authentication", "refused", by="header" if shown else "cookie")
    if not shown and (request.blueprint in _PAGES or request.endpoint == "docs.page"):
        after = f"{request.script_root}{request.full_path.rstrip('?')}" if request.method == "GET" else ""
        return redirect(url_for("sign_in.form", next=after or None), 303)
    challenge: dict[str, str | None] = {
        "realm": "Elastic Image Classifier",
        **({"error": "invalid_token"} if shown else {}),
    }
    sentence = "the access token is unknown, expired or revoked" if shown else "an access token is needed"
    raise Unauthorized(sentence, www_authenticate=WWWAuthenticate("bearer", challenge))
