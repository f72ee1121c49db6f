"""Requests that come with a session's cookie must show that one of our own pages sent them.

This is a second check: `response_headers` has refused what browsers say comes from elsewhere.  The token travels in a
header (the page's scripts), in the address (the form with files, whose body is too long to be searched for it), or in
the body of a small form.
"""

from __future__ import annotations

from flask import abort, request, session
from flask_wtf.csrf import generate_csrf, validate_csrf

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_MAX_FORM_BYTES = 16 * 1024


def form_token() -> str:
    """The token for a form of this session; begins a session where there is none."""
    token: str = generate_csrf()
    return token


def page_token() -> str:
    """The token for a page's scripts and forms; empty where nobody is signed in."""
    return form_token() if "token_id" in session else ""


def check() -> None:
    """403 unless the current request has the token of its session."""
    try:
        validate_csrf(_sent_token())
    except ValueError:  # of which WTForms' ValidationError is one
        abort(403, "the page is out of date; please load it again")


def _sent_token() -> str:
    token = request.headers.get(HEADER) or request.args.get(FIELD)
    if token is None and request.mimetype == "application/x-www-form-urlencoded":
        request.max_content_length = _MAX_FORM_BYTES
        token = request.form.get(FIELD)
    return token or ""
