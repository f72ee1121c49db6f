"""Sign-in with an access token, and sign-out."""

from __future__ import annotations

import re
import secrets
import time

from flask import Blueprint, abort, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from web_tier.auth import identity
from web_tier.auth.scopes import READ
from web_tier.auth.sessions import can_have_cookie, end
from web_tier.languages.messages import gettext
from web_tier.security import audit_log
from web_tier.services import services

# One slash, then neither another one nor anything that browsers turn into one.
_SAFE_NEXT = re.compile(r"/(?![/\\])[^\\]*")

blueprint = Blueprint("sign_in", __name__)


@blueprint.get("/sign-in")
def form() -> ResponseReturnValue:
    """The sign-in form; redirects a browser that is signed in already."""
    after = safe_next(request.args.get("next", ""), url_for("pages.upload"))
    if identity.identity() is not None:
        return redirect(after, 303)
    return _form(after)


@blueprint.post("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Begins a session for a valid token with the scope `read`."""
    if services().settings.authentication == "off":
        abort(404)
    services().rate_limits.count_sign_in()
    if not can_have_cookie():
        abort(403, "signing in needs HTTPS, so that the token cannot be read on the way")
    after = safe_next(request.form.get("next", ""), url_for("pages.upload"))
    token = identity.valid_token(request.form.get("token", "").strip())
    if token is None:
        audit_log.record("sign_in", "refused", reason="no valid token")
        return _form(after, gettext("This token is unknown, expired or revoked.")), 401
    if READ not in token.scopes:
        audit_log.record("sign_in", "refused", reason="scope", presented_token_id=token.token_id)
        return _form(after, gettext("This token lacks the scope read, which pages need.")), 403
    # Nothing of an earlier session is kept, which another person could have prepared (session fixation).
    session.clear()
    session.permanent = True
    session.update(token_id=token.token_id, session_id=secrets.token_hex(16), since=time.time())
    audit_log.record("sign_in", presented_token_id=token.token_id, presented_owner=token.owner)
    return redirect(after, 303)


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """Ends the session."""
    if "token_id" in session:
        identity.identity()
        found, session_id = services(), session["session_id"]
        end(found.state, session_id)
        found.ended_sessions.invalidate(session_id)
        audit_log.record("sign_out")
        session.clear()
    response = make_response(redirect(url_for("sign_in.form"), 303))
    # Browsers keep the images of batches in their cache for long.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def safe_next(text: str, home: str) -> str:
    """The redirect target after signing in: `text` where it is a path of this site, else `home`.

    Browsers take ``//host`` and ``/\\host`` for another site, and remove tabs and line breaks before they parse it.
    """
    return text if _SAFE_NEXT.fullmatch(text) and text.isprintable() else home


def _form(after: str, problem: str = "") -> str:
    return render_template("sign_in.html", after=after, problem=problem, possible=can_have_cookie())
