"""Patch moto's S3: atomic requests, one notification for each object, and listings in a hundredth of the time.

*Atomic requests*: moto puts an object into its bucket before it sets its metadata, closes a replaced object
while other threads read it, and lets two conditional writes pass the same check.  With a threaded server a
result would sometimes be read without its metadata.  `install` runs the requests one at a time; as they
never block, this costs no throughput that the interpreter's lock would not cost anyway.

*Notifications*: for an upload in parts moto sends two, of a put and of the completed upload; S3 sends the latter.

*Listings*: moto's general serializer takes 0.35 s for the 1,000 entries of one page.  With `install` it writes
the page without its entries, which are then written directly.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from moto.core.responses import ActionResult
from moto.s3.models import FakeKey, S3Backend
from moto.s3.responses import S3Response

_moto_serialized = S3Response.serialized
_moto_key_response = S3Response._key_response
_moto_bucket_response = S3Response._bucket_response
_moto_put_object = S3Backend.put_object

# Reentrant, since moto handles some requests for a bucket as requests for a key.
ONE_AT_A_TIME = threading.RLock()


# These two run after the request's body has been read, so that a slow upload does not block other requests.
def _key_response(self: S3Response, *args: Any, **kwargs: Any) -> Any:
    with ONE_AT_A_TIME:
        return _moto_key_response(self, *args, **kwargs)


def _bucket_response(self: S3Response, *args: Any, **kwargs: Any) -> Any:
    with ONE_AT_A_TIME:
        return _moto_bucket_response(self, *args, **kwargs)


def _put_object(self: S3Backend, *args: Any, **kwargs: Any) -> FakeKey:
    """Sends no notification of an object that is put together from parts: moto sends one of the completed upload."""
    if kwargs.get("multipart") is not None:
        kwargs["disable_notification"] = True
    return _moto_put_object(self, *args, **kwargs)


def _serialized(self: S3Response, action_result: ActionResult) -> Any:
    result = action_result.result
    if not isinstance(result, dict) or "Contents" not in result:
        return _moto_serialized(self, action_result)
    entries = result.pop("Contents")
    status, headers, body = _moto_serialized(self, action_result)
    assert isinstance(body, str)
    end_of_root = body.rindex("</")
    return status, headers, f"{body[:end_of_root]}{_element('Contents', entries)}{body[end_of_root:]}"


def _element(name: str, value: Any) -> str:
    """Serializes `value` as XML; a list becomes an element for each item, as in S3's listings."""
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    if isinstance(value, dict):
        value = "".join(_element(key, item) for key, item in value.items() if item is not None)
    else:
        value = escape(str(value))
    return f"<{name}>{value}</{name}>"


def install() -> Callable[[], None]:
    """Installs the patches; returns a function that removes them."""
    S3Response._key_response = _key_response  # type: ignore[method-assign]
    S3Response._bucket_response = _bucket_response  # type: ignore[method-assign]
    S3Response.serialized = _serialized  # type: ignore[method-assign,assignment]
    S3Backend.put_object = _put_object  # type: ignore[method-assign]
    return _uninstall


def _uninstall() -> None:
    S3Response._key_response = _moto_key_response  # type: ignore[method-assign]
    S3Response._bucket_response = _moto_bucket_response  # type: ignore[method-assign]
    S3Response.serialized = _moto_serialized  # type: ignore[method-assign]
    S3Backend.put_object = _moto_put_object  # type: ignore[method-assign]
