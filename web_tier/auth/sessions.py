"""Session cookies: signed, hidden from scripts, sent to this host only, and valid only while their token is."""

from __future__ import annotations

import secrets

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface

from aws.conflict_retry import retry_on_conflict
from aws.state import StateStore
from core.errors import DecodeError
from core.settings import MIN_SESSION_KEY_CHARACTERS, Settings
from web_tier.security.trusted_hosts import is_loopback_host

KEY = "web/session-key"
# Needed for as long as a session can last; a lifecycle rule may delete marks older than a day.
ENDED_PREFIX = "web/signed-out/"
# Counted from the sign-in: use does not extend a session.
SESSION_SECONDS = 12 * 3600
COOKIE = "eic_session"
_MAX_KEY_BYTES = 1024


def init_app(app: Flask, secret_key: str) -> None:
    """Sets up sessions for `app` that are signed with `secret_key`."""
    app.secret_key = secret_key
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=SESSION_SECONDS,
    )


def session_key(settings: Settings, state: StateStore) -> str:
    """The key that signs cookies: the setting, or one that the first process stores in the state bucket for all.

    Raises:
        CloudError: S3 failed.
    """
    if settings.session_key:
        return settings.session_key
    # After a conflict the key that is there now counts: another process was faster, or a retry met our own write.
    return retry_on_conflict(lambda: _stored_key(state), 3, "the session key could not be created")


def _stored_key(state: StateStore) -> str:
    found = state.get(KEY)
    if found is not None:
        return _checked_key(found.body)
    key = secrets.token_urlsafe(32)
    state.create(KEY, key.encode("ascii"))
    return key


def _checked_key(body: bytes) -> str:
    """The session key in a stored object.

    Raises:
        DecodeError: it is none, or too short to be one.
    """
    if not body.isascii() or not MIN_SESSION_KEY_CHARACTERS <= len(body) <= _MAX_KEY_BYTES:
        raise DecodeError(f"{KEY} in the state bucket is not a session key; delete it, and every session ends")
    return body.decode("ascii")


def has_ended(state: StateStore, session_id: str) -> bool:
    """Whether a session was ended by signing out.

    Raises:
        CloudError: S3 failed.
    """
    return state.get(f"{ENDED_PREFIX}{session_id}") is not None


def end(state: StateStore, session_id: str) -> None:
    """Ends a session: every copy of its cookie is refused.

    Raises:
        CloudError: S3 failed.
    """
    state.put(f"{ENDED_PREFIX}{session_id}", b"")


def can_have_cookie() -> bool:
    """Whether a session's cookie may be sent with the current request: over HTTPS, or within this machine."""
    return request.is_secure or is_loopback_host(request.host)


class _Sessions(SecureCookieSessionInterface):
    def get_cookie_name(self, app: Flask) -> str:
        # With this prefix browsers accept the cookie from this very host only, and only over HTTPS.
        return f"__Host-{COOKIE}" if self.get_cookie_secure(app) else COOKIE

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or not is_loopback_host(request.host)
