"""Messages in the language of the current request; see `web_tier.languages.choice`.  English outside of requests.

``python -m web_tier.languages.catalogues`` finds the calls of these functions in the code.
"""

from __future__ import annotations

from babel.support import NullTranslations
from flask import g, has_request_context
from flask_babel import get_translations

_ENGLISH = NullTranslations()


def catalogue() -> NullTranslations:
    """The messages of the current request's language; they are looked up once in a request."""
    if not has_request_context():
        return _ENGLISH
    found: NullTranslations | None = g.get("catalogue")
    if found is None:
        found = g.catalogue = get_translations()
    return found


def gettext(message: str, /, **values: object) -> str:
    """The message in the request's language, its placeholders, such as ``%(count)s``, filled with `values`."""
    text = catalogue().ugettext(message)
    return text % values if values else text


def ngettext(one: str, many: str, count: int, /, **values: object) -> str:
    """The message for a count: in English `one` for 1, else `many`."""
    return catalogue().ungettext(one, many, count) % values
