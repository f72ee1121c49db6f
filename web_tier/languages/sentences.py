"""Translates sentences that are made elsewhere in English: stored with results, raised as errors.

Buckets, logs and the command line stay English, so that the same sentence serves them and programs that compare it.  A
page or an answer of the API in another language recognizes the sentence here by its form, and repeats it in that
language with the same names and figures.  What is not recognized stays English.  A test compares the forms with the
places in the code that make such sentences.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from flask_babel import get_locale

from core.languages import ENGLISH
from web_tier.languages.choice import language
from web_tier.languages.formats import number
from web_tier.languages.messages import gettext


def N_(sentence: str) -> str:
    """Mark a sentence for the message catalogues."""
    return sentence


SENTENCES = (
    # Why an image has no label
    N_("the file is empty"),
    N_("the file is larger than the limit"),
    N_("the file is larger than the limit of %(size)s"),
    N_("the file is not an image of a known format"),
    N_("the file is not an image of a known format; accepted are %(formats)s"),
    N_("the file is %(format)s, which is not an accepted image; accepted are %(formats)s"),
    N_("the image has more pixels than the limit"),
    N_("the image has more pixels than the limit of %(limit)s"),
    N_("the image has %(pixels)s pixels, more than the limit of %(limit)s"),
    N_("the image has %(size)s bytes of samples, more than the limit of %(limit)s"),
    N_("decoding the image takes up to %(size)s of memory, more than the limit of %(limit)s"),
    N_("the image is too long for its width"),
    N_("the image is more than %(count)s times as long as wide"),
    N_("the image is damaged or incomplete"),
    N_("the %(format)s image is damaged or incomplete: it ends within its header"),
    N_("the %(format)s image is damaged or incomplete: its header cannot be read"),
    N_("the %(format)s image is damaged or incomplete: its size is %(width)s × %(height)s"),
    N_("the %(format)s image is damaged or incomplete: it ends before its last row"),
    N_("the %(format)s image is damaged or incomplete: it ends before its picture is complete"),
    N_("the %(format)s image is damaged or incomplete: only %(share)s %% of its rows are there"),
    N_("the %(format)s image is damaged or incomplete: %(reason)s"),
    N_("the image has a layout that cannot be read"),
    N_("the %(format)s image has a layout that cannot be read: %(reason)s"),
    N_("the file cannot be read from S3"),
    N_("the file cannot be read from S3: %(reason)s"),
    N_("the file crashes its decoder"),
    N_("the photo, or another of its job, ends its workers"),
    N_("the uploaded image is no longer stored"),
    N_("the photo is no longer stored"),
    N_("the image could not be classified although it was tried several times"),
    N_("the batch was cancelled before the image was classified"),
    N_("the stored result cannot be read"),
    N_("the name is too long for this server's queue"),
    # Remarks on an image with a label
    N_("incomplete: only the end marker is missing"),
    N_("incomplete: %(share)s %% of the rows are there"),
    # Archives
    N_("the archive is damaged or incomplete"),
    N_("the archive is larger than the limit"),
    N_("the archive is larger than the limit of %(size)s"),
    N_("the archive expands to more than its limit"),
    N_("the archive has more than %(count)s files and folders"),
    N_("there is no image in the archive"),
    N_("an archive within an archive is not opened"),
    N_("the image is damaged in its archive"),
    N_("the image is encrypted; archives with a password are not opened"),
    N_("the image is compressed by a method other than deflate; create the archive again as a plain ZIP"),
    # Files that were not stored
    N_("could not be stored, please try again"),
    N_("could not be queued, please try again"),
    N_("has not arrived"),
    N_("the batch is full: it can have %(count)s images"),
    N_("the batch can have %(count)s images"),
    N_("today's quota of %(count)s images is used up"),
    N_("there is no room for it on the server at the moment, please try again later"),
    N_("the server's disk is full; please try again later"),
    N_("%(name)s is larger than the limit of %(size)s"),
    # Requests that fail
    N_("the access token's quota of %(count)s images a day does not suffice; it is reset at midnight, UTC"),
    N_("too many requests in a minute; please wait a little"),
    N_("too many requests in an hour; please wait a little"),
    N_("the store of rate limits does not answer; please try again soon"),
    N_("an access token is needed"),
    N_("the access token is unknown, expired or revoked"),
    N_("this access token lacks the scope %(scope)s"),
    N_("this route is closed"),
    N_("signing in needs HTTPS, so that the token cannot be read on the way"),
    N_("this request was sent by a page of another site"),
    N_("this request names no origin (Sec-Fetch-Site, Origin) as browsers do; programs use an access token"),
    N_("this server has no authentication and answers only its own machine"),
    N_("this server does not go by that name; EIC_TRUSTED_HOSTS says by which ones it does"),
    N_("there is no such batch or image"),
    N_("no controller has reported yet"),
    N_("the batch has been cancelled and takes no more images"),
    N_("the cursor was not issued by this service"),
    N_("the request's body is malformed or incomplete"),
    N_("the request did not arrive in time"),
    N_("the request must be multipart/form-data with a boundary"),
    N_("the request has more than %(count)s parts or an overlong header"),
    N_("The request's body is not complete and well-formed multipart/form-data."),
    N_("the body is not JSON"),
    N_("the body must be JSON, with the content type application/json"),
    N_("the form has no file"),
    N_("no files are expected here; send a form without files as application/x-www-form-urlencoded"),
    N_("send a form with a file, the image itself as image/… or application/octet-stream, or JSON"),
    N_("the data of image %(number)s is not base64"),
    N_("a key does not belong to this batch"),
    N_("offset must be a whole number from 0 to %(number)s"),
    N_("too many requests wait for an answer already"),
    N_("too many viewers already follow batches here"),
    N_("the answer could not be looked for; the image is classified all the same"),
    N_("the batch could not be read"),
    N_("the server is busy with other large requests; please try again soon"),
    N_("There is no room for uploaded files in the temporary folder."),
    N_("the storage does not answer at the moment; please try again soon"),
    N_("something went wrong on our side"),
    N_("not ready"),
    # Werkzeug's, of addresses that do not exist and the like
    N_(
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling and"
        " try again."
    ),
    N_("The method is not allowed for the requested URL."),
    N_("The data value transmitted exceeds the capacity limit."),
    N_("The browser (or proxy) sent a request that this server could not understand."),
    # Names of HTTP's status codes
    N_("Bad Request"),
    N_("Unauthorized"),
    N_("Forbidden"),
    N_("Not Found"),
    N_("Method Not Allowed"),
    N_("Request Timeout"),
    N_("Conflict"),
    N_("Request Entity Too Large"),
    N_("Unsupported Media Type"),
    N_("Unprocessable Content"),
    N_("Unprocessable Entity"),
    N_("Too Many Requests"),
    N_("Internal Server Error"),
    N_("Service Unavailable"),
)
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
# As Python writes it: digits in groups of three, and perhaps a fraction.
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
# Of these the figures are part of a name, or an address.
_VERBATIM = frozenset(("format", "formats", "name", "reason", "scope"))


def translated(sentence: str) -> str:
    """`sentence` in the language of the current request, where its form is known; else as it is."""
    return sentence if language() == ENGLISH else _translated(sentence, str(get_locale()))


@lru_cache(4096)
def _translated(sentence: str, _locale: str) -> str:
    found = recognize(sentence)
    if found is None:
        return sentence
    message, values = found
    local = {name: value if name in _VERBATIM else _NUMBER.sub(_local_number, value) for name, value in values.items()}
    return gettext(message, **local)


def recognize(sentence: str) -> tuple[str, dict[str, str]] | None:
    """The form of a sentence, one of `SENTENCES`, and the text of its placeholders; None if it is not known."""
    if sentence in _plain():
        return sentence, {}
    for pattern, message in _patterns():
        if match := pattern.fullmatch(sentence):
            return message, match.groupdict()
    return None


@cache
def _plain() -> frozenset[str]:
    return frozenset(sentence for sentence in SENTENCES if "%" not in sentence)


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(sentence), sentence) for sentence in SENTENCES if "%" in sentence)


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(sentence)
    # The names of placeholders are at the odd places.
    texts = [
        f"(?P<{part}>.+?)" if index % 2 else re.escape(part.replace("%%", "%")) for index, part in enumerate(parts)
    ]
    return re.compile("".join(texts), re.DOTALL)


def _local_number(match: re.Match[str]) -> str:
    text = match.group().replace(",", "")
    return number(float(text) if "." in text else int(text))
