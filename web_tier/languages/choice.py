"""Which language a request is answered in, and Flask-Babel set up with it.

The message catalogues are in `translations/`; `translations/README.md` says how they are updated.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from flask import Flask, Response, g, has_request_context, request, url_for
from flask_babel import Babel, get_locale
from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept

from core.languages import ENGLISH, LANGUAGES
from core.paths import REPOSITORY_ROOT
from core.settings import Settings, split_list
from web_tier.languages import formats, script_messages
from web_tier.languages.messages import catalogue

FOLDER = REPOSITORY_ROOT / "translations"
PARAMETER = "lang"
COOKIE = "language"
_COOKIE_SECONDS = 365 * 24 * 3600
# Its clients are programs that compare the text.
_ALWAYS_ENGLISH = "compat.classify"
# Where the code alone does not name the script.
_TAGS = {"zh": "zh-Hans"}


def choose(wanted: str, remembered: str, accepted: LanguageAccept, offered: Sequence[str]) -> str:
    """The language of a request, as a code of `LANGUAGES`.

    Args:
        wanted: of the request's query; ignored unless it is one of `LANGUAGES`.
        remembered: of the cookie; ignored unless it is offered.
        accepted: the header ``Accept-Language``.
        offered: by the settings; the first is for clients that accept none of them.
    """
    if wanted in LANGUAGES:
        return wanted
    if remembered in offered:
        return remembered
    # Best first, and by the language alone: de-AT is German.
    for value, quality in accepted:
        code = value.partition("-")[0].lower()
        if quality > 0 and code in offered:
            return code
    return offered[0]


def init_app(app: Flask, settings: Settings) -> None:
    """Lets `app` answer each request in its language: pages, messages, numbers and dates."""
    offered = split_list(settings.languages)

    def language_of_request() -> str:
        found: str | None = g.get("language")
        if found is None:
            found = ENGLISH
            if request.endpoint != _ALWAYS_ENGLISH:
                wanted, remembered = request.args.get(PARAMETER, ""), request.cookies.get(COOKIE, "")
                found = choose(wanted, remembered, request.accept_languages, offered)
            g.language = found
        return found

    def remember(response: Response) -> Response:
        if response.mimetype == "text/html":
            response.headers["Content-Language"] = tag(language())
            wanted = request.args.get(PARAMETER, "")
            if wanted in offered and request.method == "GET":
                path = f"{request.script_root}/"
                secure = request.is_secure
                response.set_cookie(
                    COOKIE, wanted, _COOKIE_SECONDS, path=path, secure=secure, httponly=True, samesite="Lax"
                )
        if response.mimetype in ("text/html", "application/json", "application/problem+json"):
            response.vary.update(("Accept-Language", "Cookie"))
        return response

    Babel(
        app,
        default_locale=ENGLISH,
        default_translation_directories=str(FOLDER),
        locale_selector=language_of_request,
    )
    # Flask-Babel's own ask for the language at each message.
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        lambda message: catalogue().ugettext(message),
        lambda one, many, count: catalogue().ungettext(one, many, count),
        newstyle=True,
    )
    app.after_request(remember)
    app.jinja_env.globals.update(
        language_tag=lambda: tag(language()),
        text_direction=lambda: get_locale().text_direction,
        number=formats.number,
        fixed=formats.fixed,
        percent=formats.percent,
        seconds=formats.seconds,
        money=formats.money,
        date=formats.day,
        instance_state=formats.instance_state,
        run_status=formats.run_status,
        script_messages=lambda: Markup(script_messages.text_of(language(), FOLDER)),  # noqa: S704 escaped in the file
        other_languages=lambda: [(code, tag(code), LANGUAGES[code]) for code in offered if code != language()],
        language_url=_url_in,
    )


def language() -> str:
    """The language of the current request; English outside of requests."""
    found = get_locale() if has_request_context() else None
    return ENGLISH if found is None else str(found.language)


def tag(code: str) -> str:
    """The tag (BCP 47) of a language, for ``lang`` attributes and scripts."""
    return _TAGS.get(code, code)


def _url_in(code: str) -> str:
    """The address of the current page in another language, relative to it; the start page's in answers to forms."""
    if request.method != "GET" or request.routing_exception is not None:
        return url_for("pages.upload", lang=code)
    query = [(name, value) for name, value in request.args.items(multi=True) if name != PARAMETER]
    return f"?{urlencode([*query, (PARAMETER, code)])}"
